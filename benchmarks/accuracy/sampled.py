"""Reproduction check: one positive among 99 sampled negatives, as in published tables of NCF.

    python -m benchmarks.accuracy.sampled

ml-1m, each person's last event against 99 items they never used, drawn uniformly; HR@10, NDCG@10.
Such ranks are never compared with full ones (W. Krichene, S. Rendle, KDD 2020): this only says
whether our EASE is the EASE of the literature. The ridge is chosen the same way on the event
before the last.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.accuracy import splits
from benchmarks.accuracy.datasets import load
from lifeloop.models.data import histories
from lifeloop.models.retrieve.ease import Ease

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RIDGES = (100.0, 200.0, 400.0, 800.0, 1600.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    import sys

    sys.path.insert(0, str(ROOT / "benchmarks" / "peers"))
    import lib_ours
    import run

    folder = splits.write(load("ml-1m"), "loo", ROOT / ".bench" / "accuracy")
    known, inner = run.read(folder)
    held = np.load(folder / "targets.npz")
    found = {}
    for ridge in RIDGES:
        found[ridge] = judged(
            lib_ours.data_of(inner.known), ridge, inner.users, inner.indptr, inner.targets,
            held=held["targets"], seed=given.seed,
        )  # fmt: skip
        hr, ndcg = found[ridge]
        print(f"validation, ridge {ridge:g}: HR@10 {hr:.4f} NDCG@10 {ndcg:.4f}", flush=True)
    ridge = max(RIDGES, key=lambda r: found[r][1])
    data = lib_ours.data_of(known)
    hr, ndcg = judged(
        data, ridge, known.asked, held["indptr"], held["targets"], held=None, seed=given.seed + 1
    )
    print(f"test, ridge {ridge:g}: HR@10 {hr:.4f} NDCG@10 {ndcg:.4f}; published .7192 .4494")
    told = {"hr@10": hr, "ndcg@10": ndcg, "ridge": ridge, "published": [0.7192, 0.4494]}
    (HERE / "results" / "sampled.json").write_text(json.dumps(told, indent=1) + "\n")


def judged(data, ridge, users, indptr, targets, *, held, seed):
    """Return HR@10 and NDCG@10; ``held`` are later events, which are no negatives either."""
    fitted = replace(Ease(n_items=data.n_items), ridge=ridge).fit(
        data, rng=np.random.default_rng(0)
    )
    rng = np.random.default_rng(seed)
    asked = histories(data, users.astype(np.int32))
    gains = []
    step = 500
    for lo in range(0, len(users), step):
        from lifeloop.models.data import part_of

        scores = fitted.score(part_of(asked, lo, min(lo + step, len(users))))
        for b, row in enumerate(scores):
            u = lo + b
            target = int(targets[indptr[u]])
            used = np.zeros(data.n_items, np.bool_)
            used[asked.item_ix[asked.indptr[u] : asked.indptr[u + 1]]] = True
            used[target] = True
            if held is not None and u < len(held):
                used[held[u]] = True
            others = rng.choice(np.flatnonzero(~used), size=99, replace=False)
            above = int((row[others] > row[target]).sum())
            level = int((row[others] == row[target]).sum())
            rank = above + level / 2
            gains.append((rank < 10, 1.0 / np.log2(rank + 2.0) if rank < 10 else 0.0))
    return tuple(float(x) for x in np.mean(gains, axis=0))


if __name__ == "__main__":
    main()
