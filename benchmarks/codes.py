"""What semantic codes are worth to the ranker: ``python -m benchmarks.codes [ENCODER] [SEEDS]``.

ml-1m with plots as text (films liked, 700 people drawn with seed 0), each person's last film held
out; trees always served. Per seed the same split, blend and trees with and without three levels of
codes; NDCG@10 over all films, and the difference per person with its standard error.

The log comes from ``LIFELOOP_DATA`` (../shared/data). Vectors are kept in ``.bench``.
"""

import json
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from benchmarks.encoding import vectors_of
from benchmarks.texts import films
from lifeloop.config import Models
from lifeloop.evaluate import Catalogue, evaluate
from lifeloop.models import build
from lifeloop.models.rank.ranked import Ranked

PEOPLE = 700
LEVELS = (0, 3)


def measured(encoder: str, seeds: int) -> dict[str, Any]:
    """Return NDCG@10 per number of levels and seed, and the paired differences."""
    log = films()
    people = np.random.default_rng(0).permutation(sorted(set(log.interactions["user_id"])))[:PEOPLE]
    rows = log.interactions.filter(pl.col("user_id").is_in(people.tolist()))
    ids = sorted(set(rows["item_id"]))
    content, content_ix, _ = vectors_of(encoder, ids, log.texts)
    (found,) = build(["ranked"], Models(), horizon="last")
    assert isinstance(found, Ranked)
    told: dict[str, Any] = {"encoder": encoder, "people": len(people), "items": len(ids)}
    per_person: dict[int, list[Any]] = {levels: [] for levels in LEVELS}
    for seed in range(seeds):
        for levels in LEVELS:
            begun = time.perf_counter()
            report = evaluate(
                rows,
                {"ranked": replace(found, codes=levels, margin=-1.0)},
                protocol="loo",
                catalogue=Catalogue(ids, content, content_ix),
                rng=np.random.default_rng(seed),
            )
            made = report.models["ranked"]
            per_person[levels].append(np.asarray(made.per_user["ndcg@10"]))
            told[f"seed {seed}, {levels} levels"] = {
                "ndcg@10": round(float(per_person[levels][-1].mean()), 4),
                "asked": len(per_person[levels][-1]),
                "notes": [note for note in made.notes if note.startswith("ranker of")],
                "seconds": round(time.perf_counter() - begun, 1),
            }
            print(json.dumps(told[f"seed {seed}, {levels} levels"]), file=sys.stderr, flush=True)
        told["difference"] = _difference(per_person)
        print(json.dumps(told["difference"]), file=sys.stderr, flush=True)
    return told


def _difference(per_person: dict[int, list[Any]]) -> dict[str, float]:
    """Return the mean over people of what codes add in the seeds so far, and its error."""
    gain = np.mean(per_person[LEVELS[1]], axis=0) - np.mean(per_person[LEVELS[0]], axis=0)
    error = float(gain.std() / np.sqrt(len(gain)))
    return {"mean": round(float(gain.mean()), 4), "standard_error": round(error, 4)}


if __name__ == "__main__":
    encoder = sys.argv[1] if len(sys.argv) > 1 else "tfidf"
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    print(json.dumps(measured(encoder, seeds), indent=1))
