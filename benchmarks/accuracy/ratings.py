"""Root mean squared error of predicted ratings, random folds of ml-100k.

    python -m benchmarks.accuracy.ratings
    python -m benchmarks.accuracy.ratings --peers

Five folds drawn with a stated seed, settings fixed beforehand. ``--peers`` adds scikit-surprise in
an environment of its own (benchmarks/peers/lib_surprise.py), on the same folds.
"""

import argparse
import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.accuracy.__main__ import PEERS, ROOT, interpreter
from benchmarks.accuracy.datasets import load
from lifeloop.models.data import histories, train_data
from lifeloop.models.gibbs import BayesianRating
from lifeloop.models.rating import RatingModel

HERE = Path(__file__).parent
FOLDS = 5
OURS = {"ours:rating": RatingModel(), "ours:bayesian_rating": BayesianRating()}
PEER = ("surprise:svd", "surprise:svdpp", "surprise:knnbaseline")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = load("ml-100k").interactions.sort("user_id", "t_us", "seq")
    fold = np.random.default_rng(given.seed).permutation(rows.height) % FOLDS
    errors: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for f in range(FOLDS):
        for name, made in OURS.items():
            started = time.process_time()
            told = predicted(made, rows, fold == f)
            seconds.setdefault(name, []).append(time.process_time() - started)
            errors.setdefault(name, []).append(rmse(told, rows["rating"].to_numpy()[fold == f]))
    if given.peers:
        work = ROOT / ".bench" / "ratings"
        work.mkdir(parents=True, exist_ok=True)
        cells = {name: rows[name].to_numpy() for name in ("user_id", "item_id", "rating")}
        np.savez(work / "folds.npz", fold=fold, rating=cells["rating"],
                 user=cells["user_id"].astype(str), item=cells["item_id"].astype(str))  # fmt: skip
        command = [str(interpreter("surprise")), str(PEERS / "lib_surprise.py"), str(work)]
        subprocess.run(command, check=True)
        told = json.loads((work / "told.json").read_text())
        errors |= {name: one["rmse"] for name, one in told.items()}
        seconds |= {name: one["seconds"] for name, one in told.items()}
    result = {
        name: {
            "rmse": round(float(np.mean(found)), 4),
            "folds": [round(e, 4) for e in found],
            "cpu_s_a_fold": round(float(np.mean(seconds[name])), 1),
        }
        for name, found in errors.items()
    }
    for name, one in sorted(result.items(), key=lambda row: row[1]["rmse"]):
        print(f"{name:24} RMSE {one['rmse']:.4f}  CPU {one['cpu_s_a_fold']} s a fold")
    (HERE / "results" / "ratings.json").write_text(json.dumps(result, indent=1) + "\n")


def predicted(made, rows: pl.DataFrame, out: np.ndarray) -> np.ndarray:
    """Fit on the other folds; people are folded in from the ratings left, as in a request."""
    known = rows.filter(pl.Series(~out))
    items = rows["item_id"].unique().sort().to_list()
    place = {item: i for i, item in enumerate(items)}
    as_of = int(rows["t_us"].max()) + 1  # type: ignore[arg-type]
    data, users = train_data(
        known.select("user_id", "item_id", "t_us", "seq", "weight", "rating").with_columns(
            weight=pl.lit(1.0, pl.Float32), rating=pl.col("rating").cast(pl.Float64)
        ),
        item_ids=items,
        content=np.zeros((0, 1), np.float32),
        content_ix=np.full(len(items), -1, np.int32),
        as_of_us=as_of,
    )
    fitted = made.fit(data, rng=np.random.default_rng(0))
    asked = rows.filter(pl.Series(out))
    at = {user: u for u, user in enumerate(users)}
    queries = histories(data, np.arange(len(users), dtype=np.int32))
    empty = len(users)  # nobody of ml-100k loses all ratings; said if it happens
    owner = np.array([at.get(u, empty) for u in asked["user_id"].to_list()])
    assert (owner < empty).all(), "a person has no rating left; predict them from no history"
    item_ix = np.array([place[i] for i in asked["item_id"].to_list()], dtype=np.int32)
    return fitted.values(replace(queries), owner, item_ix)


def rmse(told: np.ndarray, true: np.ndarray) -> float:
    return float(np.sqrt(np.mean((told - true) ** 2)))


if __name__ == "__main__":
    main()
