"""scikit-surprise on given folds of ratings: SVD, SVD++ and KNNBaseline with their defaults.

PYTHON lib_surprise.py FOLDER      reads FOLDER/folds.npz, writes FOLDER/told.json
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from surprise import SVD, Dataset, KNNBaseline, Reader, SVDpp

MODELS = {
    "surprise:svd": lambda: SVD(random_state=0),
    "surprise:svdpp": lambda: SVDpp(random_state=0, cache_ratings=True),
    "surprise:knnbaseline": lambda: KNNBaseline(
        k=40, sim_options={"name": "pearson_baseline", "user_based": False}, verbose=False
    ),
}


def main(folder):
    held = np.load(folder / "folds.npz")
    rows = list(
        zip(held["user"].tolist(), held["item"].tolist(), held["rating"].tolist(), strict=True)
    )
    fold, told = held["fold"], {}
    reader = Reader(rating_scale=(1, 5))
    for f in range(int(fold.max()) + 1):
        known = [(*row, None) for row, g in zip(rows, fold, strict=True) if g != f]
        train = Dataset(reader).construct_trainset(known)
        asked = [row for row, g in zip(rows, fold, strict=True) if g == f]
        for name, make in MODELS.items():
            started = time.process_time()
            model = make().fit(train)
            said = np.array([model.predict(u, i).est for u, i, _ in asked])
            one = told.setdefault(name, {"rmse": [], "seconds": []})
            one["seconds"].append(time.process_time() - started)
            true = np.array([r for _, _, r in asked])
            one["rmse"].append(float(np.sqrt(np.mean((said - true) ** 2))))
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
