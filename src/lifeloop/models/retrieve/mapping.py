"""What the map from text into the space of use learns: space, ridge, neighbours, trust.

Letters: I items, t items taught from, d width of a text, r width of the space. See ``mapped``.
"""

from collections.abc import Sequence

import numpy as np

from lifeloop.contracts import Bool, Double, Float, Long, TrainData

RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
GAMMAS = (0.0, 0.25, 0.5, 1.0)
SHARES = (0.0, 0.3, 0.6)
"""s: how much of what a text says is told by the nearest texts."""
NEAREST = 30
MOST_TEXTS = 20_000
"""With more texts than this the nearest are not looked for (s = 0): it would take minutes."""
MOST_SPACE = 20_000
"""Most used items that the space of use is made of."""
BLOCK = 1000
FOLDS = 4
ASKED = 300
"""People of the training data on whom λ, s and γ are chosen."""
LEAST_ITEMS = 20
"""With fewer used items that have a text there is nothing to learn a map from."""


def most_used(uses: Double, n: int) -> Bool:
    """Return [I], True for the n most-used items."""
    chosen = np.zeros(len(uses), dtype=np.bool_)
    chosen[np.argsort(-uses, kind="stable")[:n]] = True
    return chosen


def uses_of(data: TrainData) -> Double:
    """Return how many people used each item [I]."""
    pair = np.unique(data.user_ix.astype(np.int64) * max(1, data.n_items) + data.item_ix)
    return np.bincount(pair % max(1, data.n_items), minlength=data.n_items).astype(np.float64)


def space_of(data: TrainData, uses: Double, rank: int, *, rng: np.random.Generator) -> Float:
    """Return Z [I, r]: item by item use, people by use, brought to rank r.

    Items beyond the ``MOST_SPACE`` most used shape no space; they are served from their text.
    """
    from scipy.sparse import csr_matrix
    from sklearn.utils.extmath import randomized_svd

    used = np.flatnonzero(most_used(uses, MOST_SPACE) & (uses > 0))
    space = np.zeros((data.n_items, rank), dtype=np.float32)
    if len(used) < 2 or data.n_users < 2:
        return space
    place = np.full(data.n_items, -1, dtype=np.int64)
    place[used] = np.arange(len(used))
    pair = np.unique(data.user_ix.astype(np.int64) * data.n_items + data.item_ix)
    user, item = pair // data.n_items, pair % data.n_items
    user, item = user[place[item] >= 0], item[place[item] >= 0]
    value = (1.0 / np.sqrt(uses[item])).astype(np.float32)
    matrix = csr_matrix((value, (user, place[item])), shape=(data.n_users, len(used)))
    k = min(rank, min(matrix.shape) - 1)
    _, size, right = randomized_svd(matrix, k, n_iter=4, random_state=int(rng.integers(2**31)))
    space[used, :k] = (right * size[:, None]).T.astype(np.float32)
    return space


def choose_map(
    data: TrainData,
    text: Double,
    target: Double,
    teach: Long,
    *,
    ridges: Sequence[float] = RIDGES,
    shares: Sequence[float] = SHARES,
    gammas: Sequence[float] = GAMMAS,
    rng: np.random.Generator,
) -> tuple[float, float, float, Double]:
    """Return the best λ, s and γ on items left out, and the squared residuals [t] under them."""
    fold_of = rng.permutation(len(teach)) % FOLDS
    uses = np.expm1(target[:, -1])
    trust = trust_in(uses, float(np.median(uses)))
    people = rng.permutation(data.n_users)[:ASKED]
    used = np.zeros((len(people), data.n_items), dtype=np.bool_)
    place = np.full(data.n_users, -1, dtype=np.int64)
    place[people] = np.arange(len(people))
    mine = place[data.user_ix] >= 0
    used[place[data.user_ix[mine]], data.item_ix[mine]] = True
    used = used[:, teach]  # [p, t]
    unit = unit_rows(target[:, :-1])
    settings = [(ridge, share) for ridge in ridges for share in shares]
    errors = np.zeros((len(settings), len(teach)))
    gain = np.zeros((len(settings), len(gammas)))
    for left in range(FOLDS):
        out, kept = fold_of == left, fold_of != left
        persons = unit_rows(used[:, kept].astype(np.float64) @ unit[kept])  # [p, r]
        sums = _sums(text[kept], target[kept], trust[kept])
        near = np.zeros((int(out.sum()), target.shape[1]))
        if max(shares) > 0:
            near = told_by_nearest(text[out], text[kept], target[kept], trust[kept])
        by_ridge = {ridge: with_one(text[out]) @ _solved(*sums, ridge) for ridge in ridges}
        for n, (ridge, share) in enumerate(settings):
            made = (1.0 - share) * by_ridge[ridge] + share * near
            errors[n, out] = ((target[out] - made)[:, :-1] ** 2).sum(axis=1)
            cosine = persons @ unit_rows(made[:, :-1]).T  # [p, o]
            for g, gamma in enumerate(gammas):
                scale = np.exp(gamma * (made[:, -1] - made[:, -1].mean()))
                gain[n, g] += _ndcg(cosine * scale, used[:, out])
    best, best_gamma = divmod(int(np.argmax(gain)), len(gammas))
    return *settings[best], gammas[best_gamma], errors[best]


def told_by_nearest(asked: Double, text: Double, target: Double, trust: Double) -> Double:
    """Return what the nearest texts [t, d] of used items say of other texts [m, d]: [m, r+1]."""
    found = np.zeros((len(asked), target.shape[1]))
    k = min(NEAREST, len(text))
    for start in range(0, len(asked), BLOCK):
        like = np.maximum(asked[start : start + BLOCK] @ text.T, 0.0)  # [b, t]
        least = -np.partition(-like, k - 1, axis=1)[:, k - 1 : k]
        weight = np.where(like >= least, like, 0.0) ** 2 * trust
        whole = weight.sum(axis=1, keepdims=True)
        told = np.divide(
            weight @ target, whole, out=np.zeros_like(found[start : start + BLOCK]), where=whole > 0
        )
        found[start : start + BLOCK] = told
    return found


def _ndcg(score: Double, target: Bool, k: int = 10) -> float:
    """Return the mean NDCG@k over the rows with a target."""
    asked = target.any(axis=1)
    if not asked.any():
        return 0.0
    score, target = score[asked], target[asked]
    k = min(k, score.shape[1])
    discount = 1.0 / np.log2(np.arange(k) + 2.0)
    top = np.argpartition(-score, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(score, top, axis=1), axis=1, kind="stable")
    gain = np.take_along_axis(np.take_along_axis(target, top, axis=1), order, axis=1) @ discount
    ideal = np.cumsum(discount)[np.minimum(target.sum(axis=1), k) - 1]
    return float((gain / ideal).mean())


def unit_rows(rows: Double) -> Double:
    """Return rows of length 1; a zero row stays zero."""
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0))


def fit_ridge(text: Double, target: Double, trust: Double, ridge: float) -> Double:
    """Return W [d+1, r]; the last row, the mean, is not shrunk."""
    return _solved(*_sums(text, target, trust), ridge)


def _sums(text: Double, target: Double, trust: Double) -> tuple[Double, Double]:
    told = with_one(text)  # [t, d+1]
    weighed = trust[:, None] * told
    return told.T @ weighed, weighed.T @ target


def _solved(gram: Double, moment: Double, ridge: float) -> Double:
    penalty = np.full(len(gram), ridge)
    penalty[-1] = 1e-6
    return np.asarray(np.linalg.solve(gram + np.diag(penalty), moment))


def kappa_of(residual: Double, n: Double) -> float:
    """Return s²/τ² of E residual = τ² + s²/n, by least squares with both ≥ 0."""
    from scipy.optimize import nnls

    design = np.stack([np.ones(len(n)), 1.0 / n], axis=1)
    (tau2, s2), _ = nnls(design, residual)
    return float(s2 / tau2) if tau2 > 0 else float(np.median(n))


def trust_in(n: Double, kappa: float) -> Double:
    """Return n / (n + κ), 0 where nothing was used."""
    return np.asarray(np.where(n > 0, n / np.maximum(n + kappa, 1e-12), 0.0))


def with_one(rows: Double) -> Double:
    """Return the rows with a 1 at the end."""
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
