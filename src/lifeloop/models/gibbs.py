"""Ratings by Bayesian matrix factorisation: the mean of many factorisations, by Gibbs sampling.

    r_ui ~ N(μ + b_u + b_i + p_u · q_i, 1/α)
    (b_u, p_u) ~ N(m_P, Λ_P⁻¹),   (b_i, q_i) ~ N(m_Q, Λ_Q⁻¹)

with Normal-Wishart priors on (m, Λ) and a Gamma prior on α, all drawn in turn (R. Salakhutdinov, A.
Mnih, ICML 2008, equations 5 to 14, with biases as one more column whose partner is 1). What is
kept are draws of the items' side and of the priors. A person unknown in training is folded in by
the mean of their own posterior under every draw:

    (b_u, p_u) = (Λ_P + α Σ x xᵀ)⁻¹ (Λ_P m_P + α Σ x (r − μ − b_i)),    x = (1, q_i).

Nothing about any person is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Double, Float, Int, Long, Queries, TrainData
from lifeloop.models import arrays as ar
from lifeloop.models.rating import NO_RATINGS, Rated, basis_of, last_ratings, newest_ratings


@dataclass(frozen=True, slots=True)
class BayesianRating:
    """Settings of the sampler.

    Parameters
    ----------
    factors : int
        Width of p and q; there is little to overfit, but time grows with its square.
    burn_in, draws : int
        Sweeps before anything is kept, and sweeps kept.
    """

    factors: int = 8
    burn_in: int = 30
    draws: int = 60

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedBayesianRating":
        """Sample; a person's last rating of an item counts."""
        user, item, rating = last_ratings(data)
        width = self.factors + 1
        mean = float(rating.mean()) if len(rating) else 0.0
        scale = (float(rating.min()), float(rating.max())) if len(rating) else (0.0, 0.0)
        left = rating - mean
        by_user, by_item = _Grouped.of(user, data.n_users), _Grouped.of(item, data.n_items)
        p = rng.normal(0.0, 0.1, (data.n_users, width))
        q = rng.normal(0.0, 0.1, (data.n_items, width))
        alpha = 1.0
        kept: list[tuple[Float, Double, Double, float]] = []
        for sweep in range(self.burn_in + self.draws if len(rating) else 0):
            middle, precision = _priors(p[by_user.held], rng)
            p = _drawn(by_user, _designs(q[item]), left - q[item, 0], alpha, middle, precision, rng)
            ours = _priors(q[by_item.held], rng)
            q = _drawn(by_item, _designs(p[user]), left - p[user, 0], alpha, *ours, rng)
            q[np.diff(by_item.bounds) == 0] = ours[0]  # nobody rated these: the mean item
            wrong = left - p[user, 0] - q[item, 0] - (p[user, 1:] * q[item, 1:]).sum(axis=1)
            alpha = float(rng.gamma(1.0 + len(left) / 2.0, 1.0 / (1.0 + wrong @ wrong / 2.0)))
            if sweep >= self.burn_in:
                kept.append((q.astype(np.float32), middle, precision, alpha))
        return FittedBayesianRating(
            mean=mean,
            scale=np.array(scale),
            items=np.array([k[0] for k in kept], np.float32).reshape(-1, data.n_items, width),
            middle=np.array([k[1] for k in kept]).reshape(-1, width),
            precision=np.array([k[2] for k in kept]).reshape(-1, width, width),
            alpha=np.array([k[3] for k in kept]),
            item_count=np.bincount(item, minlength=data.n_items).astype(np.int32),
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedBayesianRating:
    """S draws of the items' side; people come with the request."""

    mean: float
    scale: Double  # [2] lowest and highest rating seen
    items: Float  # [S, I, f+1] (b_i, q_i); S = 0 without ratings
    middle: Double  # [S, f+1] m_P
    precision: Double  # [S, f+1, f+1] Λ_P
    alpha: Double  # [S]
    item_count: NDArray[np.int32]  # [I]

    def predict(self, queries: Queries, item_ix: Int) -> list[Rated]:
        """Return a rating of item ``item_ix[b]`` for each query b, from its rated events."""
        if not len(self.alpha):
            return [Rated(None, "none", NO_RATINGS)] * len(queries)
        values = self.values(queries, np.arange(len(queries)), item_ix)
        own = np.bincount(newest_ratings(queries)[1], minlength=len(queries))
        return [
            Rated(float(value), basis_of(int(n), int(self.item_count[item])))
            for value, n, item in zip(values, own, item_ix, strict=True)
        ]

    def values(self, queries: Queries, owner: Long, item_ix: Int) -> Double:
        """Return ratings [m] of items for the queries ``owner`` [m], clipped to the scale.

        NaN where the model was trained on no rating at all.
        """
        told = np.full(len(item_ix), np.nan)
        if not len(self.alpha):
            return told
        rows, whose = newest_ratings(queries)
        for b in np.unique(owner):
            own = rows[whose == b]
            asked = np.flatnonzero(owner == b)
            person = self._folded(queries.item_ix[own], queries.rating[own].astype(np.float64))
            target = self.items[:, item_ix[asked]].astype(np.float64)  # [S, m, f+1]
            each = person[:, :1] + target[..., 0]
            each = each + np.einsum("smf,sf->sm", target[..., 1:], person[:, 1:])
            told[asked] = self.mean + each.mean(axis=0)
        return np.asarray(np.clip(told, self.scale[0], self.scale[1]))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "mean": ar.number(self.mean),
            "scale": self.scale,
            "items": self.items,
            "middle": self.middle,
            "precision": self.precision,
            "alpha": self.alpha,
            "item_count": self.item_count,
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        names = ("scale", "items", "middle", "precision", "alpha", "item_count")
        return cls(
            mean=ar.read_number(arrays, "mean"),
            **{name: ar.needed(arrays, name) for name in names},
        )

    def _folded(self, item: Int, rating: Double) -> Double:
        """Return (b_u, p_u) [S, f+1] of a person with these ratings; without any, the mean one."""
        told = self.items[:, item].astype(np.float64)  # [S, h, f+1]
        x = told.copy()
        x[..., 0] = 1.0
        left = rating - self.mean - told[..., 0]  # [S, h]
        alpha = self.alpha[:, None]
        left_side = self.precision + alpha[..., None] * np.einsum("shf,shg->sfg", x, x)
        right = np.einsum("sfg,sg->sf", self.precision, self.middle)
        right = right + alpha * np.einsum("shf,sh->sf", x, left)
        return np.asarray(np.linalg.solve(left_side, right[..., None])[..., 0])


@dataclass(frozen=True, slots=True, eq=False)
class _Grouped:
    """Ratings in the order of their person or item."""

    order: Long  # [m]
    bounds: Long  # [n+1]
    held: Long  # who has any

    @classmethod
    def of(cls, group: NDArray[Any], n: int) -> "_Grouped":
        order = np.argsort(group, kind="stable")
        bounds = np.searchsorted(group[order], np.arange(n + 1))
        return cls(order, bounds.astype(np.int64), np.flatnonzero(np.diff(bounds)))


def _designs(other: Double) -> Double:
    """Return (1, q) or (1, p) of the other side, [m, f+1]."""
    x = other.copy()
    x[:, 0] = 1.0
    return x


def _drawn(
    grouped: _Grouped,
    x: Double,
    left: Double,
    alpha: float,
    middle: Double,
    precision: Double,
    rng: np.random.Generator,
) -> Double:
    """Draw every row from its Gaussian given its ratings."""
    n, width = len(grouped.bounds) - 1, x.shape[1]
    x, left = x[grouped.order], left[grouped.order]
    gram, right = np.zeros((n, width, width)), np.zeros((n, width))
    for g in grouped.held.tolist():
        rows = slice(grouped.bounds[g], grouped.bounds[g + 1])
        gram[g], right[g] = x[rows].T @ x[rows], left[rows] @ x[rows]
    whole = alpha * gram + precision
    mean = np.linalg.solve(whole, (alpha * right + precision @ middle)[..., None])[..., 0]
    factor = np.linalg.cholesky(whole)
    noise = np.linalg.solve(factor.transpose(0, 2, 1), rng.standard_normal((n, width, 1)))[..., 0]
    return np.asarray(mean + noise)


def _priors(rows: Double, rng: np.random.Generator) -> tuple[Double, Double]:
    """Draw (m, Λ) given rows [n, w], with β₀ = 1, m₀ = 0, ν₀ = w and W₀ = I."""
    n, width = rows.shape
    mean = rows.mean(axis=0)
    spread = (rows - mean).T @ (rows - mean)
    scale = np.linalg.inv(np.eye(width) + spread + n / (1.0 + n) * np.outer(mean, mean))
    lower = np.tril(rng.standard_normal((width, width)), -1)
    lower[np.diag_indices(width)] = np.sqrt(rng.chisquare(width + n - np.arange(width)))
    root = np.linalg.cholesky((scale + scale.T) / 2.0) @ lower
    precision = root @ root.T  # Wishart, by Bartlett's decomposition
    noise = np.linalg.solve(np.linalg.cholesky(precision * (1.0 + n)).T, rng.standard_normal(width))
    return np.asarray(n * mean / (1.0 + n) + noise), np.asarray(precision)
