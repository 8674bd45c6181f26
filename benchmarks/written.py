"""What people's own words are worth to the ranker: ``python -m benchmarks.written SPLIT [SEEDS]``.

Amazon musical instruments, all people in two halves, each with the reviews by the other half as
texts of the items (``benchmarks.texts.others``). What a person wrote is their own reviews, read
strictly before what is asked for: the review of a target is of its moment or later and never read.
SPLIT is ``loo`` (each person's last item) or ``time`` (the last fifth of the events); all items are
ranked, trees always served. Per seed the same split and the same blend, and trees ``without``
words, ``with`` them, and with words ``dealt`` to other people, which must not help. NDCG@10, and
the difference per person, mean of the seeds, with its 95% bootstrap interval over people.
``--no-dealt`` leaves the third out.

``python -m benchmarks.written cost``: what it costs a request, in processor seconds of one project
of one half (trees trained on few queries, always served): ``recommend`` of the same people with the
ranker told of their words and not, in turns; and the reading of their texts for the first time.

The log comes from ``LIFELOOP_DATA`` (../shared/data). Vectors are kept in ``.bench``.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from benchmarks.codes import parts
from benchmarks.encoding import vectors_of
from benchmarks.texts import instruments
from lifeloop import Lifeloop
from lifeloop.config import Models
from lifeloop.contracts import Double, Float, Int, Long, TrainData, Written
from lifeloop.evaluate import Catalogue, evaluate
from lifeloop.evaluate.bootstrap import bootstrap
from lifeloop.models import Blend, FittedBlend, FittedRanked, build
from lifeloop.models.holdout import Holdout
from lifeloop.models.learned import Learned
from lifeloop.models.rank.ranked import Ranked
from lifeloop.reading import TextReader
from lifeloop.text_settings import TextEncoding
from lifeloop.written import Told, Writings

ARMS = ("without", "with", "dealt")
ENCODER = "tfidf"


class Kept(Blend):
    """A blend that learns once where it is asked the same again: only the trees differ by arm."""

    def learn(self, cuts: tuple[Holdout, ...], *, rng: np.random.Generator) -> Learned:
        """Return what was learned by this generator before."""
        return _kept(rng, lambda: super(Kept, self).learn(cuts, rng=rng))

    def finish(self, data: TrainData, learned: Learned, *, rng: np.random.Generator) -> FittedBlend:
        """Return what was fitted by this generator before."""
        made: FittedBlend = _kept(rng, lambda: super(Kept, self).finish(data, learned, rng=rng))
        return replace(made, notes=learned.notes)


_held: dict[str, Any] = {}


def _kept(rng: np.random.Generator, make: Callable[[], Any]) -> Any:
    state = repr(rng.bit_generator.state)
    if state not in _held:
        _held[state] = make()
    return _held[state]


@dataclass(frozen=True)
class Dealt:
    """The words of everybody, each person's dealt to another."""

    whole: Written
    other: Int  # [U]

    def at(self, users: Int, as_of_us: Long, before_us: Long, *, most: int | None = None) -> Float:
        """Return what the other person had written before the moment."""
        return self.whole.at(self.other[users], as_of_us, before_us, most=most)


def words(arm: str, reader: TextReader, told: Told) -> Callable[[Sequence[str]], Written] | None:
    """Return what ``evaluate`` is told of people's words."""

    def own(ids: Sequence[str]) -> Written:
        return Writings.of(reader, told, ids, TextEncoding())

    def dealt(ids: Sequence[str]) -> Written:
        return Dealt(own(ids), np.random.default_rng(0).permutation(len(ids)).astype(np.int32))

    return {"without": None, "with": own, "dealt": dealt}[arm]


def measured(
    split: Literal["loo", "time"], seeds: int, arms: Sequence[str] = ARMS
) -> dict[str, Any]:
    """Return NDCG@10 per arm, half and seed, and the paired differences."""
    (found,) = build(["ranked"], Models(), horizon="last" if split == "loo" else "time")
    assert isinstance(found, Ranked)
    own = {field.name: getattr(found.blend, field.name) for field in fields(found.blend)}
    ranked = replace(found, blend=Kept(**own), margin=-1.0)
    texts = instruments().written.with_row_index("seq").select("user_id", "t_us", "seq", "text")
    told = Told(texts.with_columns(pl.col("seq").cast(pl.Int64)), {})
    out: dict[str, Any] = {"split": split, "encoder": ENCODER, "runs": []}
    scores: list[list[dict[str, Double]]] = []  # per half, of each seed
    for n, part in enumerate(parts("instruments", 0)):
        ids = sorted(set(part.rows["item_id"]))
        content, content_ix, reader = vectors_of(ENCODER, ids, part.texts)
        scores.append([])
        for seed in range(seeds):
            _held.clear()
            scores[-1].append({})
            for arm in arms:
                begun = time.process_time()
                report = evaluate(
                    part.rows,
                    {"ranked": ranked},
                    protocol=split,
                    catalogue=Catalogue(ids, content, content_ix),
                    written=words(arm, reader, told),
                    rng=np.random.default_rng(seed),
                )
                result = report.models["ranked"]
                scores[-1][-1][arm] = np.asarray(result.per_user["ndcg@10"])
                run = {
                    "half": n,
                    "seed": seed,
                    "arm": arm,
                    "items": len(ids),
                    "asked": len(result.per_user["ndcg@10"]),
                    "ndcg@10": round(float(scores[-1][-1][arm].mean()), 4),
                    "notes": [note for note in result.notes if "ranker" in note],
                    "cpu_s": round(time.process_time() - begun, 1),
                }
                out["runs"].append(run)
                print(json.dumps(run), file=sys.stderr, flush=True)
        for arm in arms[1:]:
            out[f"{arm} - without"] = _difference(scores, arm)
            print(arm, json.dumps(out[f"{arm} - without"]), file=sys.stderr, flush=True)
    return out


def _difference(scores: list[list[dict[str, Double]]], arm: str) -> dict[str, Any]:
    """Return the mean over people of what an arm adds, in the mean of the seeds so far."""
    gains = [[seed[arm] - seed["without"] for seed in half] for half in scores]
    gain = np.concatenate([np.mean(half, axis=0) for half in gains])  # [U]
    (sure,) = bootstrap(gain[:, None], seed=0)
    means = [
        np.mean([seed[a].mean() for half in scores for seed in half]) for a in ("without", arm)
    ]
    return {
        "people": len(gain),
        "without": round(float(means[0]), 4),
        arm: round(float(means[1]), 4),
        "mean": round(sure.mean, 4),
        "low": round(sure.lo, 4),
        "high": round(sure.hi, 4),
        "of_half_and_seed": [round(float(g.mean()), 4) for half in gains for g in half],
    }


def cost(people: int = 200, rounds: int = 5) -> dict[str, Any]:
    """Return processor milliseconds of a request, told of words and not, and of a first reading."""
    half = parts("instruments", 0)[0]
    events = half.rows.join(
        instruments().written.select("user_id", "item_id", "text"), on=["user_id", "item_id"]
    )
    fitted = Ranked.fit

    def keen(self: Ranked, data: TrainData, *, rng: np.random.Generator) -> FittedRanked:
        return fitted(replace(self, margin=-1.0, most=300), data, rng=rng)

    models = {"ranker": "trees", "text_encoder": ENCODER, "ease_items": 1000}
    scenario = {"name": "words", "extends": "ecommerce", "models": models}
    reads = FittedRanked.reads_written
    with tempfile.TemporaryDirectory() as work:
        home = Path(work)
        titles = {"item_id": list(half.texts), "description": list(half.texts.values())}
        pl.DataFrame(titles).write_ndjson(home / "items.jsonl")
        events.select(
            "user_id",
            "item_id",
            "text",
            type=pl.lit("purchase"),
            value=pl.lit(1.0),
            order_id=pl.col("seq").cast(pl.String),
            occurred_at=pl.col("t_us") // 1_000_000,
        ).write_ndjson(home / "events.jsonl")
        with Lifeloop.open(home / "project", scenario=scenario) as loop:
            loop.import_items(home / "items.jsonl")
            loop.import_events(home / "events.jsonl")
            Ranked.fit = keen  # type: ignore[method-assign]
            loop.train()
            model = loop.model()
            assert isinstance(model.blend, FittedRanked)
            assert model.blend.reads_written, "no tree asks for the words: nothing to measure"
            assert model.reader is not None
            ids = events["user_id"].unique().sort().head(people).to_list()
            spent: dict[bool, list[float]] = {True: [], False: []}
            for n in range(-1, rounds):  # the first round warms up
                for told in (n % 2 == 0, n % 2 == 1):
                    FittedRanked.reads_written = property(lambda _, told=told: told)  # type: ignore
                    begun = time.process_time()
                    for user in ids:
                        loop.recommend(user, k=10)
                    if n >= 0:
                        spent[told].append(1000 * (time.process_time() - begun) / len(ids))
            FittedRanked.reads_written = reads  # type: ignore[method-assign]
            first = []
            for user in ids:
                texts = [t for t in loop.store.histories([user])[0].text if t][-3:]
                model.reader._seen.clear()
                begun = time.process_time()
                model.reader.read_all(texts)
                first.append(1000 * (time.process_time() - begun))
    return {
        "people": len(ids),
        "ms told": [round(v, 2) for v in spent[True]],
        "ms not told": [round(v, 2) for v in spent[False]],
        "ms added, median of rounds": round(
            float(np.median(np.array(spent[True]) - np.array(spent[False]))), 3
        ),
        "ms of reading three texts for the first time, median": round(float(np.median(first)), 2),
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["cost"]:
        print(json.dumps(cost(), indent=1))
        sys.exit()
    chosen: Literal["loo", "time"] = "time" if sys.argv[1:2] == ["time"] else "loo"
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    arms = ARMS[:2] if "--no-dealt" in sys.argv else ARMS
    print(json.dumps(measured(chosen, seeds, arms), indent=1))
