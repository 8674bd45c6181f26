"""lightfm-next: WARP, and WARP with item texts' TF-IDF as features where there are any."""

from pathlib import Path

import numpy as np
from lightfm import LightFM
from scipy import sparse


def space(trial):
    return {
        "no_components": trial.suggest_int("no_components", 16, 128, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 5e-3, 0.15, log=True),
        "item_alpha": trial.suggest_float("item_alpha", 1e-7, 1e-3, log=True),
        "epochs": trial.suggest_int("epochs", 5, 40, log=True),
    }


def warp(known, s, seed, features=None):
    s = dict(s)
    epochs = s.pop("epochs")
    x = sparse.coo_matrix(
        (np.ones(len(known.user), np.float32), (known.user, known.item)),
        shape=(known.n_users, known.n_items),
    )
    model = LightFM(loss="warp", **s, random_state=seed)
    model.fit(x, epochs=epochs, num_threads=2, item_features=features)
    item_bias, item = model.get_item_representations(features)
    _, user = model.get_user_representations()
    seen = x.tocsr()

    def recommend(users, k):
        scores = user[users] @ item.T + item_bias
        if known.seen_out:
            rows, cols = seen[users].nonzero()
            scores[rows, cols] = -np.inf
        k = min(k, scores.shape[1])
        top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        own = np.take_along_axis(scores, top, axis=1)
        order = np.argsort(-own, axis=1, kind="stable")
        return np.where(
            np.isfinite(np.take_along_axis(own, order, axis=1)),
            np.take_along_axis(top, order, axis=1),
            -1,
        )

    return recommend


def with_features(known, s, seed):
    held = np.load(Path(known.folder) / "content.npz")
    own = sparse.identity(known.n_items, format="csr", dtype=np.float32)
    ix, content = held["content_ix"], held["content"]
    if not len(content):
        return warp(known, s, seed)
    told = np.where(ix[:, None] >= 0, content[ix], 0.0).astype(np.float32)
    return warp(known, s, seed, sparse.hstack([own, sparse.csr_matrix(np.abs(told))]).tocsr())


MODELS = {"warp": (space, warp), "warp_features": (space, with_features)}
