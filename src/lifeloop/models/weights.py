"""Weights of a blend, learned from what people did next.

1. A conditional logit over the candidates of each validation query: minimise
   −mean_t log softmax(F w)_t + l2·‖w‖² over w ≥ 0, F the parts' normalised scores. It is convex.
2. A search for NDCG@10 itself, which the logit only approximates: from the logit and from the best
   single part, one weight at a time is set to a few fixed shares of the largest and kept where the
   validation slice gains. Nothing in it is random.

Letters used in shapes: B queries, C candidates of a query, P parts.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from lifeloop.contracts import Bool, Double, Float

SHARES = (0.0, 0.03, 0.1, 0.2, 0.35, 0.6, 1.0, 1.7, 3.0)
ROUNDS = 3


WORTH = 0.01
"""A part is kept for this share of NDCG@10 on validation: every part costs every request time."""


@dataclass(frozen=True, slots=True, eq=False)
class CandidateTable:
    """Candidates of the validation queries, padded to one width."""

    features: Float  # [B, C, P]
    real: Bool  # [B, C] False where padded
    target: Bool  # [B, C] what the person did next


def learn_weights(table: CandidateTable, *, l2: float = 1e-3) -> Double:
    """Return non-negative weights [P], the largest of them 1."""
    spread = table.features[table.real].std(axis=0, dtype=np.float64)  # [P]
    says = spread > 1e-9
    if not says.any():
        return np.ones(len(spread))
    # in units of each part's own spread, so that one grid of shares suits all
    unit = np.where(says, spread, 1.0)
    scaled = CandidateTable((table.features / unit).astype(np.float32), table.real, table.target)
    corners = [corner for p, corner in enumerate(np.eye(len(unit))) if says[p]]
    alone = max(corners, key=lambda w: ndcg_at_10(scaled, w))
    starts = [np.where(says, _logit(scaled, l2), 0.0), alone]
    found = [_searched(scaled, start, says) for start in starts if start.any()]
    weights = _without_passengers(scaled, max(found, key=lambda w: ndcg_at_10(scaled, w))) / unit
    return np.asarray(weights / weights.max())


def _without_passengers(table: CandidateTable, weights: Double) -> Double:
    """Leave out the parts, lightest first, that all together lose less than ``WORTH`` of NDCG."""
    floor = (1.0 - WORTH) * ndcg_at_10(table, weights)
    for p in np.argsort(weights, kind="stable"):
        trial = weights.copy()
        trial[p] = 0.0
        if weights[p] > 0 and trial.any() and ndcg_at_10(table, trial) >= floor:
            weights = trial
    return weights


def ndcg_at_10(table: CandidateTable, weights: Double) -> float:
    """Return the mean NDCG@10 of the candidates ranked by features · weights.

    Ties count against the target; a query's ideal has all its targets on top.
    """
    score = table.features @ weights.astype(np.float32)  # [B, C]
    score[~table.real] = -np.inf
    # a part that says nothing gives equal scores, which must not look like good ones
    score = np.where(table.target, np.nextafter(score, np.float32(-np.inf)), score)
    k = min(10, score.shape[1])
    top = np.argpartition(-score, k - 1, axis=1)[:, :k]  # [B, k]
    order = np.lexsort((top, -np.take_along_axis(score, top, axis=1)), axis=1)
    top = np.take_along_axis(top, order, axis=1)
    discount = 1.0 / np.log2(np.arange(k) + 2.0)
    gain = np.take_along_axis(table.target, top, axis=1) @ discount
    n_targets = np.minimum(table.target.sum(axis=1), k)
    ideal = np.concatenate([[np.inf], np.cumsum(discount)])[n_targets]
    return float((gain / ideal).mean())


def _logit(table: CandidateTable, l2: float) -> Double:
    features = table.features
    n_parts = features.shape[2]
    hits = table.target.astype(np.float32)
    share = hits / np.maximum(hits.sum(axis=1, keepdims=True), 1)  # [B, C]
    asked = np.flatnonzero(table.target.any(axis=1))
    features, real, share = features[asked], table.real[asked], share[asked]
    observed = np.einsum("bc,bcp->p", share, features).astype(np.float64) / len(asked)

    def loss(w: Double) -> tuple[float, Double]:
        z = features @ w.astype(np.float32)  # [B, C]
        z = np.where(real, z, -np.inf)
        top = z.max(axis=1, keepdims=True)
        mass = np.exp(z - top)
        total = mass.sum(axis=1, keepdims=True)
        value = float((top[:, 0] + np.log(total[:, 0])).mean(dtype=np.float64)) - observed @ w
        expected = np.einsum("bc,bcp->p", mass / total, features) / len(asked)
        return value + l2 * float(w @ w), expected - observed + 2 * l2 * w

    solved = minimize(
        loss, np.ones(n_parts), jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * n_parts
    )
    weights = np.asarray(solved.x, dtype=np.float64)
    return weights if weights.any() else np.ones(n_parts)


def _searched(table: CandidateTable, weights: Double, says: Bool) -> Double:
    best = ndcg_at_10(table, weights)
    for _ in range(ROUNDS):
        before = best
        for p in np.flatnonzero(says):
            largest = weights.max()
            for share in SHARES:
                trial = weights.copy()
                trial[p] = share * largest
                value = ndcg_at_10(table, trial) if trial.any() else -1.0
                # where nothing is lost without a part, it is left out
                idle = share == 0.0 and value == best and weights[p] > 0
                if value > best or idle:
                    best, weights = value, trial
        if best == before:
            break
    return weights
