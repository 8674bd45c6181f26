"""What rating a person would give: biases plus factors, folded in from the person's own ratings.

    r̂_ui = μ + σ (b_u + b_i + p_u · q_i)

μ, σ, b_i and q_i are learned; b_u and p_u are solved from the ratings in the request, so a person
unknown in training is the normal path and no row of any person is kept. (Y. Koren, R. Bell,
C. Volinsky, "Matrix factorization techniques for recommender systems", Computer 42(8), 2009,
equation 4, solved by alternating least squares with a ridge that grows with the count.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Double, Float, Int, Long, Queries, TrainData
from lifeloop.models import arrays as ar

NO_RATINGS = "no_ratings"
"""The data holds no ratings at all."""


@dataclass(frozen=True, slots=True)
class Rated:
    """A predicted rating and what it rests on, or None and the reason why."""

    value: float | None
    basis: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RatingModel:
    """Biases with damping and factors with ridge, by alternating least squares.

    Parameters
    ----------
    factors : int
        Width of p and q; 0 leaves the biases.
    rounds : int
        Alternations.
    ridge, ridge_base : float
        Ridge of a person's or item's factors: per rating they have, and beside that.
    damp_user, damp_item : float
        Ratings of 0 deviation that each person and item is given beforehand.
    """

    factors: int = 8
    rounds: int = 12
    ridge: float = 0.05
    ridge_base: float = 5.0
    damp_user: float = 5.0
    damp_item: float = 5.0

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedRating":
        """Learn from the rated interactions; a person's last rating of an item counts."""
        user, item, rating = last_ratings(data)
        if not len(rating):
            return _nothing(data.n_items)
        mean, spread = float(rating.mean()), float(rating.std()) or 1.0
        rating = (rating - mean) / spread  # one ridge suits every scale
        b_user, b_item = np.zeros(data.n_users), np.zeros(data.n_items)
        for _ in range(10):
            b_item = _bias(item, rating - b_user[user], data.n_items, self.damp_item)
            b_user = _bias(user, rating - b_item[item], data.n_users, self.damp_user)
        q = rng.normal(0.0, 0.1, (data.n_items, self.factors))
        p = np.zeros((data.n_users, self.factors))
        for _ in range(self.rounds if self.factors else 0):
            rest = rating - b_user[user] - b_item[item]
            p = _ridge(user, q[item], rest, n=data.n_users, ridge=(self.ridge_base, self.ridge))
            q = _ridge(item, p[user], rest, n=data.n_items, ridge=(self.ridge_base, self.ridge))
            told = (p[user] * q[item]).sum(axis=1)
            b_item = _bias(item, rating - b_user[user] - told, data.n_items, self.damp_item)
            b_user = _bias(user, rating - b_item[item] - told, data.n_users, self.damp_user)
        return FittedRating(
            mean=mean,
            spread=spread,
            item_bias=b_item.astype(np.float32),
            item_factors=q.astype(np.float32),
            item_count=np.bincount(item, minlength=data.n_items).astype(np.int32),
            scale=np.array([rating.min(), rating.max()]) * spread + mean,
            damping=np.array([self.damp_user, self.ridge_base, self.ridge]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedRating:
    """What is known of items; people come with the request."""

    mean: float
    spread: float
    item_bias: Float  # [I]
    item_factors: Float  # [I, f]
    item_count: NDArray[np.int32]  # [I]
    scale: Double  # [2] lowest and highest rating seen; empty without ratings
    damping: Double  # [3] user damping, ridge base, ridge per rating

    def predict(self, queries: Queries, item_ix: Int) -> list[Rated]:
        """Return a rating of item ``item_ix[b]`` for each query b, from its rated events."""
        if not len(self.scale):
            return [Rated(None, "none", NO_RATINGS)] * len(queries)
        owner = np.arange(len(queries))
        values = self.values(queries, owner, item_ix)
        rated = self._rated(queries)
        found = []
        for b, item in enumerate(item_ix):
            n_own, n_item = int(rated[b]), int(self.item_count[item])
            found.append(Rated(float(values[b]), basis_of(n_own, n_item)))
        return found

    def values(self, queries: Queries, owner: Long, item_ix: Int) -> Double:
        """Return ratings [m] of items ``item_ix`` for the queries ``owner``, clipped to scale."""
        bias, factors = self._folded(queries)
        item_ix = np.asarray(item_ix)
        raw = bias[owner] + self.item_bias[item_ix]
        raw = raw + (factors[owner] * self.item_factors[item_ix]).sum(axis=1)
        raw = self.mean + self.spread * raw
        return np.asarray(np.clip(raw, self.scale[0], self.scale[1]))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "mean": ar.number(self.mean),
            "spread": ar.number(self.spread),
            "item_bias": self.item_bias,
            "item_factors": self.item_factors,
            "item_count": self.item_count,
            "scale": self.scale,
            "damping": self.damping,
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        names = ("item_bias", "item_factors", "item_count", "scale", "damping")
        return cls(
            mean=ar.read_number(arrays, "mean"),
            spread=ar.read_number(arrays, "spread"),
            **{name: ar.needed(arrays, name) for name in names},
        )

    def _rated(self, queries: Queries) -> Long:
        used = np.concatenate([[0], np.cumsum(~np.isnan(queries.rating))])
        return np.asarray(used[queries.indptr[1:]] - used[queries.indptr[:-1]])

    def _folded(self, queries: Queries) -> tuple[Double, Double]:
        """Return b_u [B] and p_u [B, f], solved together from each query's own ratings."""
        n, width = len(queries), self.item_factors.shape[1]
        damp, base, ridge = self.damping
        rows, owner = newest_ratings(queries)
        item = queries.item_ix[rows]
        left = (queries.rating[rows].astype(np.float64) - self.mean) / self.spread
        left = left - self.item_bias[item]
        bias, factors = _bias(owner, left, n, damp), np.zeros((n, width))
        q = self.item_factors[item].astype(np.float64)
        for _ in range(3 if width else 0):
            factors = _ridge(owner, q, left - bias[owner], n=n, ridge=(base, ridge))
            bias = _bias(owner, left - (factors[owner] * q).sum(axis=1), n, damp)
        return bias, factors


def basis_of(n_own: int, n_item: int) -> str:
    """Say what a rating rests on: the person's ratings, the item's, both, or neither."""
    if not n_own and not n_item:
        return "mean"
    return "user+item" if n_own and n_item else "user" if n_own else "item"


def newest_ratings(queries: Queries) -> tuple[Long, Long]:
    """Return the events [m] that are a query's newest rating of an item, and whose they are [m]."""
    owner = np.repeat(np.arange(len(queries)), np.diff(queries.indptr))
    rows = _newest(owner, queries.item_ix, np.flatnonzero(~np.isnan(queries.rating)))
    return rows, owner[rows]


def last_ratings(data: TrainData) -> tuple[Int, Int, Double]:
    """Return person, item and rating [m] each of everyone's newest rating of an item."""
    rows = _newest(data.user_ix, data.item_ix, np.flatnonzero(~np.isnan(data.rating)))
    return data.user_ix[rows], data.item_ix[rows], data.rating[rows].astype(np.float64)


def _newest(owner: NDArray[Any], item: Int, rows: Long) -> Long:
    """Return the rows that are the newest of their (owner, item), in their order."""
    key = owner[rows].astype(np.int64) * (int(item.max(initial=0)) + 1) + item[rows]
    _, newest = np.unique(key[::-1], return_index=True)
    return np.asarray(rows[np.sort(len(rows) - 1 - newest)])


def _bias(group: NDArray[Any], value: Double, n: int, damping: float) -> Double:
    total = np.bincount(group, weights=value, minlength=n)
    return np.asarray(total / (np.bincount(group, minlength=n) + damping))


def _ridge(
    group: NDArray[Any], x: Double, y: Double, *, n: int, ridge: tuple[float, float]
) -> Double:
    """Return [n, f]: per group the ridge regression of y on x, λ = base + per_row · rows."""
    width = x.shape[1]
    order = np.argsort(group, kind="stable")
    x, y = x[order], y[order]
    bounds = np.searchsorted(group[order], np.arange(n + 1))
    held = np.flatnonzero(np.diff(bounds))  # groups that have rows
    gram = np.empty((len(held), width, width))
    right = np.empty((len(held), width))
    for place, g in enumerate(held):
        rows = x[bounds[g] : bounds[g + 1]]  # [r, f]
        gram[place] = rows.T @ rows
        right[place] = y[bounds[g] : bounds[g + 1]] @ rows
    gram[:, range(width), range(width)] += (ridge[0] + ridge[1] * np.diff(bounds)[held])[:, None]
    solved = np.zeros((n, width))
    solved[held] = np.linalg.solve(gram, right[:, :, None])[:, :, 0]
    return solved


def _nothing(n_items: int) -> FittedRating:
    return FittedRating(
        mean=0.0,
        spread=1.0,
        item_bias=np.zeros(n_items, np.float32),
        item_factors=np.zeros((n_items, 0), np.float32),
        item_count=np.zeros(n_items, np.int32),
        scale=np.empty(0),
        damping=np.array([1.0, 1.0, 1.0]),
    )
