"""New items and new people: ``python -m benchmarks.cold_start [LOG …] [items] [people]``.

Items: a fifth of the items loses every event before training; people with a history among the
others are asked, the new items are ranked among themselves, NDCG@10 against what they used.
Floors: chance (popularity knows nothing of a new item), shuffled texts, TF-IDF content. ``map`` is
the ridge map from text into the space of use (``models/retrieve/mapped.py``).

People: a fifth of the people is out of training; each is served from 0, 1 or 3 first events, a
query (words of the first event's kind), or stated preferences (kinds of the first three events);
targets are all their later events, every other item is ranked. Seed 0. Vectors are kept in
``.bench``.
"""

import json
import sys
from typing import Any

import numpy as np
import polars as pl

from benchmarks.cold import MOST_ASKED, Cold, cold_items, histories_of, ndcg_on, ndcgs
from benchmarks.encoding import vectors_of
from benchmarks.texts import LOGS, Log, others
from lifeloop.contracts import Float, Int, Queries
from lifeloop.models import queries, train_data
from lifeloop.models.retrieve.chance import Chance
from lifeloop.models.retrieve.content import Content
from lifeloop.models.retrieve.mapped import Mapped
from lifeloop.models.retrieve.popularity import Popularity
from lifeloop.reading import TextReader
from lifeloop.trial import shuffled

ENCODERS = ("tfidf", "minilm", "e5")
FIRST = 3


def new_items(cold: Cold) -> dict[str, Any]:
    """NDCG@10 of new items for people who are known."""
    told: dict[str, Any] = {"new items": len(cold.new_ix), "people": len(cold.queries)}
    vectors = {name: vectors_of(name, list(cold.item_ids), cold.texts)[:2] for name in ENCODERS}
    both = _beside(vectors["tfidf"], vectors["e5"])
    plain = cold.data(*vectors["tfidf"])
    told["popularity = chance"] = ndcg_on(Chance().fit(plain, rng=_rng()), cold)
    for name, (content, rows) in {**vectors, "tfidf + e5": both}.items():
        data = cold.data(content, rows)
        told[f"{name}: content"] = ndcg_on(Content().fit(data, rng=_rng()), cold)
        fitted = Mapped().fit(data, rng=_rng())
        told[f"{name}: map"] = ndcg_on(fitted, cold)
        mixed = cold.data(content, shuffled(rows, seed=0))
        told[f"{name}: content, shuffled"] = ndcg_on(Content().fit(mixed, rng=_rng()), cold)
        told[f"{name}: map, shuffled"] = ndcg_on(Mapped().fit(mixed, rng=_rng()), cold)
    floor = told["tfidf: content"]
    best = max(told[f"{name}: map"] for name in (*ENCODERS, "tfidf + e5"))
    told["best map / TF-IDF content"] = best / floor
    return told


def new_people(log: Log) -> dict[str, Any]:
    """NDCG@10 for people who are not in training, by what they have said or done so far."""
    rng = np.random.default_rng(0)
    people = np.array(sorted(log.interactions["user_id"].unique().to_list()), dtype=object)
    new = set(rng.permutation(people)[: len(people) // 5].tolist())
    texts, words = (log.texts, log.words) if log.texts else others(log, set(people) - new)
    rows = log.interactions.filter(pl.col("item_id").is_in(list(texts)))
    mine = rows.filter(pl.col("user_id").is_in(list(new))).sort("user_id", "t_us", "seq")
    train = rows.filter(~pl.col("user_id").is_in(list(new)))
    item_ids = tuple(sorted(rows["item_id"].unique().to_list()))
    ix = {item: n for n, item in enumerate(item_ids)}
    many = mine.group_by("user_id").len().filter(pl.col("len") > FIRST)["user_id"].sort().to_list()
    many = many[:MOST_ASKED]
    later: dict[str, Int] = {}
    first: dict[str, list[str]] = {}
    for (user,), part in mine.group_by(["user_id"], maintain_order=True):
        items = part["item_id"].to_list()
        first[str(user)] = items[:FIRST]
        later[str(user)] = np.array(sorted({ix[i] for i in items[FIRST:]}), dtype=np.int32)
    targets = [later[user] for user in many]
    as_of = int(rows["t_us"].max()) + 1  # type: ignore[arg-type]  # not empty
    told: dict[str, Any] = {"new people": len(many), "items": len(item_ids)}
    every = np.arange(len(item_ids), dtype=np.int32)
    nobody = queries([np.empty(0, np.int32)] * len(many), as_of_us=as_of)

    def measured(model: Any, asked: Queries) -> float:
        return float(np.mean(ndcgs(model, asked, targets, every)))

    for name in ENCODERS:
        content, row, reader = vectors_of(name, list(item_ids), texts)
        data, _ = train_data(
            train, item_ids=item_ids, content=content, content_ix=row, as_of_us=as_of
        )
        if name == ENCODERS[0]:
            told["popularity, 0 events"] = measured(Popularity().fit(data, rng=_rng()), nobody)
        alone, mapped = Content().fit(data, rng=_rng()), Mapped().fit(data, rng=_rng())
        said = {
            "a query": [words[first[u][0]] for u in many],
            "stated preferences": [
                " ".join(dict.fromkeys(words[i] for i in first[u])) for u in many
            ],
        }
        for what, asked in said.items():
            told[f"{name}: content, {what}"] = measured(alone, _saying(reader, asked, as_of))
        for n in (1, FIRST):
            known = mine.filter(pl.int_range(pl.len()).over("user_id") < n)
            histories = histories_of(known, many, ix, as_of)
            told[f"{name}: content, {n} events"] = measured(alone, histories)
            told[f"{name}: map, {n} events"] = measured(mapped, histories)
    return told


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
    chosen = [what for what in ("items", "people") if what in asked] or ["items", "people"]
    for name in [name for name in asked if name in LOGS] or list(LOGS):
        log = LOGS[name]()
        for what in chosen:
            told = new_items(cold_items(log)) if what == "items" else new_people(log)
            print(json.dumps({f"{name}, {what}": told}, indent=1, default=float), flush=True)


if __name__ == "__main__":
    main()
