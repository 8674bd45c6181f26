"""New items and new people: ``python -m benchmarks.cold_start [LOG …] [items] [people] [options]``.

Items: a fifth of the items loses every event before training; people with a history among the
others are asked, the new items are ranked among themselves, NDCG@10 against what they used.
Floors: chance (popularity knows nothing of a new item), shuffled texts, TF-IDF content. ``map`` is
the ridge map from text into the space of use (``models/retrieve/mapped.py``); ``blend`` is what is
served, as trained with TF-IDF vectors.

People: a fifth of the people is out of training; each is served from 0, 1 or 3 first events, a
query (words of the first event's kind), or stated preferences (kinds of the first three events);
targets are all their later events, every other item is ranked.

``--seeds N`` (3): every seed draws other items and people. A number is the mean over all people of
all seeds; beside it the lowest and highest mean of a seed. 95% of a ratio: 1,000 bootstrap
draws, seeds together. The JSON is printed after every draw, so that a run that is stopped has said
what it knows. ``--encoders tfidf,minilm,e5``; ``--no-blend``. Vectors are kept in ``.bench``.
"""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from benchmarks.cold import MOST_ASKED, Cold, cold_items, histories_of, ndcgs
from benchmarks.encoding import vectors_of
from benchmarks.texts import LOGS, Log, others
from lifeloop.config import Models
from lifeloop.contracts import Double, FittedRetriever, Float, Int, Queries, TrainData
from lifeloop.models import build, queries, train_data
from lifeloop.models.retrieve.chance import Chance
from lifeloop.models.retrieve.content import Content
from lifeloop.models.retrieve.mapped import Mapped
from lifeloop.models.retrieve.popularity import Popularity
from lifeloop.reading import TextReader
from lifeloop.trial import shuffled

FIRST = 3


def new_items(cold: Cold, encoders: Sequence[str], *, blend: bool) -> dict[str, list[float]]:
    """Return NDCG@10 of new items per person who is known."""

    def measured(fitted: FittedRetriever) -> list[float]:
        return ndcgs(fitted, cold.queries, cold.targets, cold.new_ix)

    told: dict[str, list[float]] = {}
    vectors = {name: vectors_of(name, list(cold.item_ids), cold.texts)[:2] for name in encoders}
    if {"tfidf", "e5"} <= set(encoders):
        vectors["tfidf + e5"] = _beside(vectors["tfidf"], vectors["e5"])
    plain = cold.data(*vectors["tfidf"])
    told["popularity = chance"] = measured(Chance().fit(plain, rng=_rng()))
    for name, (content, rows) in vectors.items():
        data = cold.data(content, rows)
        told[f"{name}: content"] = measured(Content().fit(data, rng=_rng()))
        told[f"{name}: map"] = measured(Mapped().fit(data, rng=_rng()))
        mixed = cold.data(content, shuffled(rows, seed=0))
        told[f"{name}: content, shuffled"] = measured(Content().fit(mixed, rng=_rng()))
        told[f"{name}: map, shuffled"] = measured(Mapped().fit(mixed, rng=_rng()))
    if blend:
        told["blend"] = measured(_blend(plain))
    return told


def new_people(
    log: Log, encoders: Sequence[str], *, seed: int, blend: bool
) -> dict[str, list[float]]:
    """Return NDCG@10 per person who is not in training, by what they have said or done so far."""
    rng = np.random.default_rng(seed)
    people = np.array(sorted(log.interactions["user_id"].unique().to_list()), dtype=object)
    new = set(rng.permutation(people)[: len(people) // 5].tolist())
    texts, words = (log.texts, log.words) if log.texts else others(log, set(people) - new)
    rows = log.interactions.filter(pl.col("item_id").is_in(list(texts)))
    mine = rows.filter(pl.col("user_id").is_in(list(new))).sort("user_id", "t_us", "seq")
    train = rows.filter(~pl.col("user_id").is_in(list(new)))
    item_ids = tuple(sorted(rows["item_id"].unique().to_list()))
    ix = {item: n for n, item in enumerate(item_ids)}
    counts = mine.group_by("user_id").len().filter(pl.col("len") > FIRST)
    many = counts["user_id"].sort().to_list()[:MOST_ASKED]
    later: dict[str, Int] = {}
    first: dict[str, list[str]] = {}
    for (user,), part in mine.group_by(["user_id"], maintain_order=True):
        items = part["item_id"].to_list()
        first[str(user)] = items[:FIRST]
        later[str(user)] = np.array(sorted({ix[i] for i in items[FIRST:]}), dtype=np.int32)
    targets = [later[user] for user in many]
    as_of = int(rows["t_us"].max()) + 1  # type: ignore[arg-type]  # not empty
    every = np.arange(len(item_ids), dtype=np.int32)
    known = {
        n: histories_of(mine.filter(pl.int_range(pl.len()).over("user_id") < n), many, ix, as_of)
        for n in (0, 1, FIRST)
    }
    told: dict[str, list[float]] = {}
    for name in encoders:
        content, row, reader = vectors_of(name, list(item_ids), texts)
        data, _ = train_data(
            train, item_ids=item_ids, content=content, content_ix=row, as_of_us=as_of
        )
        stated = [" ".join(dict.fromkeys(words[i] for i in first[u])) for u in many]
        asked = {
            "0 events": known[0],
            "a query": _saying(reader, [words[first[u][0]] for u in many], as_of),
            "stated preferences": _saying(reader, stated, as_of),
            "1 event": known[1],
            f"{FIRST} events": known[FIRST],
        }
        models: dict[str, FittedRetriever] = {
            "content": Content().fit(data, rng=_rng()),
            "map": Mapped().fit(data, rng=_rng()),
        }
        if name == "tfidf":
            told["popularity, 0 events"] = ndcgs(
                Popularity().fit(data, rng=_rng()), known[0], targets, every
            )
            if blend:
                models["blend"] = _blend(data)
        for kind, model in models.items():
            for what, queries_ in asked.items():
                if what != "0 events" or kind == "blend":
                    told[f"{name}: {kind}, {what}"] = ndcgs(model, queries_, targets, every)
    return told


def _blend(data: TrainData) -> FittedRetriever:
    (specification,) = build(["lifeloop"], Models(text_encoder="none"))
    return specification.fit(data, rng=_rng())


def summary(seeds: Sequence[dict[str, list[float]]], *, ratios: bool) -> dict[str, Any]:
    """Return per measurement [mean, lowest seed, highest seed], and ratios to the floor."""
    told: dict[str, Any] = {"people per seed": [len(next(iter(s.values()))) for s in seeds]}
    pooled = {name: np.concatenate([s[name] for s in seeds]) for name in seeds[0]}
    for name, each in pooled.items():
        means = [float(np.mean(s[name])) for s in seeds]
        told[name] = [round(v, 4) for v in (float(each.mean()), min(means), max(means))]
    if ratios:
        floor = pooled["tfidf: content"]
        for name in pooled:
            if name.endswith(("map", "blend")) or name == "tfidf + e5: content":
                told[f"{name} / TF-IDF content, 95%"] = _ratio(pooled[name], floor)
    return told


def _ratio(over: Double, under: Double) -> list[float]:
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(1000):
        some = rng.integers(len(over), size=len(over))
        drawn.append(over[some].mean() / max(under[some].mean(), 1e-12))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [round(float(v), 2) for v in (over.mean() / under.mean(), low, high)]


def _saying(reader: TextReader, texts: list[str], as_of: int) -> Queries:
    vectors = reader.read_all(texts)
    return queries([np.empty(0, np.int32)] * len(texts), as_of_us=as_of, vectors=vectors)


def _beside(a: tuple[Float, Int], b: tuple[Float, Int]) -> tuple[Float, Int]:
    """Return two encoders' vectors side by side, per item; an absent one is zero."""
    blocks = [np.where(row[:, None] >= 0, rows[row], 0.0) for rows, row in (a, b)]
    whole = np.concatenate(blocks, axis=1).astype(np.float32)
    return whole, np.where(whole.any(axis=1), np.arange(len(whole)), -1).astype(np.int32)


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def main() -> None:
    """Print one JSON object per log and part."""
    asked = sys.argv[1:]

    def option(name: str, otherwise: str) -> str:
        return asked[asked.index(name) + 1] if name in asked else otherwise

    encoders = option("--encoders", "tfidf,minilm,e5").split(",")
    seeds = range(int(option("--seeds", "3")))
    blend = "--no-blend" not in asked
    chosen = [what for what in ("items", "people") if what in asked] or ["items", "people"]
    for name in [name for name in asked if name in LOGS] or list(LOGS):
        log = LOGS[name]()
        for what in chosen:
            found = []
            for seed in seeds:
                began = time.process_time()
                found.append(
                    new_items(cold_items(log, seed=seed), encoders, blend=blend)
                    if what == "items"
                    else new_people(log, encoders, seed=seed, blend=blend)
                )
                told = summary(found, ratios=what == "items")
                told["CPU-seconds of the last draw"] = round(time.process_time() - began)
                print(json.dumps({f"{name}, {what}": told}, indent=1, default=float), flush=True)


if __name__ == "__main__":
    main()
