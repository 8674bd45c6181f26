"""Next-basket baselines of the literature in plain numpy: the bars that a repeat domain sets.

personal_frequency: items by the number of the person's baskets that hold them, then the overall
most bought (GP-TopFreq). tifuknn: personalised item frequency with decay within groups of baskets
and over groups, mixed with the mean of the k nearest people (Hu et al., SIGIR 2020).
"""

import numpy as np
from scipy import sparse


def baskets(known):
    """Return one row per distinct (person, moment, item): user, basket place from the end, item."""
    n = len(known.user)
    new = np.ones(n, dtype=bool)
    new[1:] = (known.user[1:] != known.user[:-1]) | (known.t_s[1:] != known.t_s[:-1])
    basket = np.cumsum(new) - 1
    last = np.zeros(known.n_users, dtype=np.int64)
    np.maximum.at(last, known.user, basket)
    cell = np.unique(np.stack([basket, known.item], axis=1), axis=0)
    owner = known.user[new][cell[:, 0]]
    return owner, last[owner] - cell[:, 0], cell[:, 1]


def lists(scores, popular, k):
    found = np.full((scores.shape[0], k), -1, dtype=np.int64)
    for b in range(scores.shape[0]):
        lo, hi = scores.indptr[b], scores.indptr[b + 1]
        item, own = scores.indices[lo:hi], scores.data[lo:hi]
        top = item[np.lexsort((item, -own))][:k]
        fill = popular[: k + len(top)]
        fill = fill[~np.isin(fill, top)][: k - len(top)]
        row = np.concatenate([top, fill])[:k]
        found[b, : len(row)] = row
    return found


def personal(known, s, seed):
    user, _, item = baskets(known)
    counts = sparse.csr_matrix(
        (np.ones(len(user)), (user, item)), shape=(known.n_users, known.n_items)
    )
    popular = np.argsort(-np.asarray(counts.sum(axis=0)).ravel(), kind="stable")
    return lambda users, k: lists(counts[users], popular, k)


def tifu_space(trial):
    return {
        "within": trial.suggest_float("within", 0.5, 1.0),
        "between": trial.suggest_float("between", 0.3, 1.0),
        "group": trial.suggest_int("group", 2, 20),
        "k": trial.suggest_int("k", 50, 900, log=True),
        "alpha": trial.suggest_float("alpha", 0.1, 1.0),
    }


def tifu(known, s, seed):
    user, back, item = baskets(known)
    n_baskets = np.zeros(known.n_users, dtype=np.int64)
    np.maximum.at(n_baskets, user, back + 1)
    group = back // s["group"]
    weight = s["within"] ** (back % s["group"]) * s["between"] ** group
    size = np.minimum(s["group"], n_baskets[user] - group * s["group"])
    n_groups = -(-n_baskets // s["group"])
    own = sparse.csr_matrix(
        (weight / size / n_groups[user], (user, item)), shape=(known.n_users, known.n_items)
    )
    norm = np.asarray(own.multiply(own).sum(axis=1)).ravel()
    popular = np.argsort(-np.asarray(own.sum(axis=0)).ravel(), kind="stable")

    def recommend(users, k):
        mine = own[users]
        far = norm[users][:, None] + norm[None, :] - 2.0 * (mine @ own.T).toarray()
        far[np.arange(len(users)), users] = np.inf
        m = min(s["k"], known.n_users - 1)
        near = np.argpartition(far, m - 1, axis=1)[:, :m]
        pick = sparse.csr_matrix(
            (
                np.full(near.size, 1.0 / m),
                near.ravel(),
                np.arange(0, near.size + 1, m),
            ),
            shape=(len(users), known.n_users),
        )
        mixed = s["alpha"] * mine + (1 - s["alpha"]) * (pick @ own)
        return lists(mixed.tocsr(), popular, k)

    return recommend


MODELS = {"personal_frequency": (None, personal), "tifuknn": (tifu_space, tifu)}
