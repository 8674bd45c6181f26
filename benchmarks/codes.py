"""What codes are worth to the ranker: ``python -m benchmarks.codes [LOG [ENCODER [SEEDS [N]]]]``.

LOG is ml-1m (films liked, plots as text, 700 people drawn with seed 0; N = 1 is the next 700) or
instruments (all people in two halves, each with the reviews by the other half as text, so that
nobody's own review of the item asked for is read). Each person's last item is held out, all items
are ranked; trees always served. Per seed the same split, blend and trees with and without three
levels of codes; NDCG@10, and the difference per person, mean of the seeds, with its 95% bootstrap
interval over people.

The log comes from ``LIFELOOP_DATA`` (../shared/data). Vectors are kept in ``.bench``.
"""

import json
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from benchmarks.encoding import vectors_of
from benchmarks.texts import films, instruments, others
from lifeloop.config import Models
from lifeloop.contracts import Double
from lifeloop.evaluate import Catalogue, evaluate
from lifeloop.evaluate.bootstrap import bootstrap
from lifeloop.models import build
from lifeloop.models.rank.ranked import Ranked

PEOPLE = 700
LEVELS = (0, 3)


@dataclass(frozen=True)
class Part:
    """People of one log, what they used, and the texts of the items."""

    rows: pl.DataFrame
    texts: dict[str, str]


def parts(log_name: str, block: int) -> list[Part]:
    """Return the parts of a log that are learned and asked apart."""
    if log_name == "ml-1m":
        log = films()
        people = _dealt(log.interactions)[block * PEOPLE :][:PEOPLE]
        return [Part(log.interactions.filter(pl.col("user_id").is_in(people)), log.texts)]
    log = instruments()
    people = _dealt(log.interactions)
    halves = (people[::2], people[1::2])
    return [
        Part(log.interactions.filter(pl.col("user_id").is_in(own)), others(log, set(rest))[0])
        for own, rest in (halves, halves[::-1])
    ]


def _dealt(rows: pl.DataFrame) -> list[str]:
    people = np.random.default_rng(0).permutation(sorted(set(rows["user_id"])))
    return [str(one) for one in people]


def measured(log_name: str, encoder: str, seeds: int, block: int) -> dict[str, Any]:
    """Return NDCG@10 per number of levels, part and seed, and the paired difference."""
    (found,) = build(["ranked"], Models(), horizon="last")
    assert isinstance(found, Ranked)
    told: dict[str, Any] = {"log": log_name, "encoder": encoder, "block": block, "runs": []}
    gains: list[list[Double]] = []  # per part, of each seed
    for n, part in enumerate(parts(log_name, block)):
        ids = sorted(set(part.rows["item_id"]))
        content, content_ix, _ = vectors_of(encoder, ids, part.texts)
        gains.append([])
        for seed in range(seeds):
            made = []
            for levels in LEVELS:
                begun = time.process_time()
                report = evaluate(
                    part.rows,
                    {"ranked": replace(found, codes=levels, margin=-1.0)},
                    protocol="loo",
                    catalogue=Catalogue(ids, content, content_ix),
                    rng=np.random.default_rng(seed),
                )
                result = report.models["ranked"]
                made.append(np.asarray(result.per_user["ndcg@10"]))
                run = {
                    "part": n,
                    "seed": seed,
                    "levels": levels,
                    "items": len(ids),
                    "asked": len(made[-1]),
                    "ndcg@10": round(float(made[-1].mean()), 4),
                    "notes": [note for note in result.notes if note.startswith("ranker of")],
                    "cpu_s": round(time.process_time() - begun, 1),
                }
                told["runs"].append(run)
                print(json.dumps(run), file=sys.stderr, flush=True)
            gains[-1].append(made[1] - made[0])
            told["difference"] = _difference(gains)
            print(json.dumps(told["difference"]), file=sys.stderr, flush=True)
    return told


def _difference(gains: list[list[Double]]) -> dict[str, Any]:
    """Return the mean over people of what codes add, in the mean of the seeds so far."""
    gain = np.concatenate([np.mean(of_part, axis=0) for of_part in gains])  # [U]
    (sure,) = bootstrap(gain[:, None], seed=0)
    of_seed = [round(float(g.mean()), 4) for of_part in gains for g in of_part]
    return {
        "people": len(gain),
        "mean": round(sure.mean, 4),
        "low": round(sure.lo, 4),
        "high": round(sure.hi, 4),
        "of_seed": of_seed,
    }


if __name__ == "__main__":
    log_name = sys.argv[1] if len(sys.argv) > 1 else "ml-1m"
    encoder = sys.argv[2] if len(sys.argv) > 2 else "tfidf"
    seeds = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    block = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    print(json.dumps(measured(log_name, encoder, seeds, block), indent=1))
