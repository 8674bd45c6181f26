"""What a search for settings is worth to the blend, on the questions of one split.

    python -m benchmarks.accuracy.tuning --data ml-100k --protocol loo --trials 15

Fits "lifeloop" without and with trials of Optuna (``models.tuning_trials``), prints NDCG@10 of both
on the targets, CPU seconds, and the notes that say what was found on validation.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.accuracy import splits
from benchmarks.accuracy.datasets import load

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="ml-100k")
    parser.add_argument("--protocol", default="loo")
    parser.add_argument("--trials", type=int, default=15)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT / "benchmarks" / "peers"))
    import lib_ours
    import run

    folder = splits.write(load(given.data), given.protocol, ROOT / ".bench" / "accuracy")
    known, _ = run.read(folder)
    held = np.load(folder / "targets.npz")
    questions = run.Inner(known, known.asked, held["indptr"], held["targets"])
    for trials in (0, given.trials):
        started = time.process_time()
        recommend = lib_ours.MODELS["lifeloop"][1](known, {"tuning_trials": trials}, 0)
        spent = time.process_time() - started
        found = run.ndcg(recommend(known.asked, 10), np.arange(len(known.asked)), questions)
        print(f"{trials} trials a part: NDCG@10 {found:.4f}, {spent:.0f} CPU-seconds", flush=True)
        for note in recommend.notes:
            if "Optuna" in note:
                print(f"  {note}")


if __name__ == "__main__":
    main()
