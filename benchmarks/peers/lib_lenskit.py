"""LensKit: EASE, item-kNN, user-kNN and implicit-feedback ALS through its top-n pipeline."""

import os

os.environ.setdefault("LK_NUM_THREADS", "2")

import numpy as np
import pandas as pd
from lenskit.als import ImplicitMFScorer
from lenskit.batch import recommend as recommend_all
from lenskit.data import from_interactions_df
from lenskit.knn import EASEScorer, ItemKNNScorer, UserKNNScorer
from lenskit.pipeline import topn_pipeline


def fitted(scorer, known):
    rows = pd.DataFrame({"user_id": known.user, "item_id": known.item}).drop_duplicates()
    data = from_interactions_df(rows)
    pipe = topn_pipeline(scorer, predicts_ratings=False)
    pipe.train(data)

    def recommend(users, k):
        lists = np.full((len(users), k), -1, dtype=np.int64)
        place = {int(u): i for i, u in enumerate(users)}
        found = recommend_all(pipe, [int(u) for u in users], k, n_jobs=1)
        for key, items in found.items():
            own = np.asarray(items.ids())
            lists[place[int(key.user_id)], : len(own)] = own
        return lists

    return recommend


def ease_space(trial):
    return {"regularization": trial.suggest_float("regularization", 10.0, 3000.0, log=True)}


def ease(known, s, seed):
    return fitted(EASEScorer(**s), known)


def knn_space(trial):
    return {
        "max_nbrs": trial.suggest_int("max_nbrs", 5, 400, log=True),
        "min_sim": trial.suggest_float("min_sim", 1e-6, 0.1, log=True),
    }


def itemknn(known, s, seed):
    return fitted(ItemKNNScorer(feedback="implicit", **s), known)


def userknn(known, s, seed):
    return fitted(UserKNNScorer(feedback="implicit", **s), known)


def als_space(trial):
    return {
        "embedding_size": trial.suggest_int("embedding_size", 8, 128, log=True),
        "regularization": trial.suggest_float("regularization", 1e-3, 20.0, log=True),
        "weight": trial.suggest_float("weight", 1.0, 80.0, log=True),
        "epochs": trial.suggest_int("epochs", 5, 20),
    }


def als(known, s, seed):
    return fitted(ImplicitMFScorer(**s), known)


MODELS = {
    "ease": (ease_space, ease),
    "itemknn": (knn_space, itemknn),
    "userknn": (knn_space, userknn),
    "als": (als_space, als),
}
