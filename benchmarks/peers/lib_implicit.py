"""implicit: ALS, BPR and item-kNN. People are rows; the history is folded by the library."""

import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from scipy import sparse
from threadpoolctl import threadpool_limits


def matrix(known):
    held = sparse.csr_matrix(
        (np.ones(len(known.user), np.float32), (known.user, known.item)),
        shape=(known.n_users, known.n_items),
    )
    held.sum_duplicates()
    if known.seen_out:
        held.data[:] = 1.0
    return held


def fitted(model, known):
    x = matrix(known)
    with threadpool_limits(1, "blas"):
        model.fit(x, show_progress=False)

    def recommend(users, k):
        with threadpool_limits(1, "blas"):
            found, score = model.recommend(
                users, x[users], N=k, filter_already_liked_items=known.seen_out
            )
        found = np.asarray(found, dtype=np.int64)
        # seen items that implicit pads with carry the lowest float
        return np.where(np.asarray(score) > -1e30, found, -1)

    return recommend


def als_space(trial):
    return {
        "factors": trial.suggest_int("factors", 8, 192, log=True),
        "regularization": trial.suggest_float("regularization", 1e-3, 50.0, log=True),
        "alpha": trial.suggest_float("alpha", 0.5, 60.0, log=True),
        "iterations": trial.suggest_int("iterations", 5, 25),
    }


def als(known, s, seed):
    return fitted(AlternatingLeastSquares(**s, random_state=seed), known)


def bpr_space(trial):
    return {
        "factors": trial.suggest_int("factors", 16, 192, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 5e-3, 0.2, log=True),
        "regularization": trial.suggest_float("regularization", 1e-4, 0.1, log=True),
        "iterations": trial.suggest_int("iterations", 30, 200, log=True),
    }


def bpr(known, s, seed):
    return fitted(BayesianPersonalizedRanking(**s, random_state=seed), known)


def knn_space(trial):
    return {
        "kind": trial.suggest_categorical("kind", ["cosine", "tfidf", "bm25"]),
        "K": trial.suggest_int("K", 5, 500, log=True),
    }


def knn(known, s, seed):
    kinds = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
    return fitted(kinds[s["kind"]](K=s["K"]), known)


MODELS = {"als": (als_space, als), "bpr": (bpr_space, bpr), "itemknn": (knn_space, knn)}
