"""The ranker that can be read: a weighted sum of features, learned by logistic regression.

    s = c + Σ_f w_f (x_f − m_f) / d_f + Σ_f v_f [x_f is missing]

m and d are the mean and spread of a feature where it is known; a missing one adds v_f and nothing
else. A weight says by how much the log odds of coming next move with one spread of its feature.
The ridge is chosen out of fold by people, as the number of trees is. (hosmer2000, chapter 2.)
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Double, Float
from lifeloop.models import arrays as ar
from lifeloop.models.rank.calibration import platt
from lifeloop.models.rank.table import Table, ndcg_per_query, served

RIDGES = (0.01, 1.0, 100.0)
"""Tried; the ridge of a weight is so many rows."""
MOST_ROWS = 400_000
"""Rows learned from at most, whole queries."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedLogistic:
    """Weights by feature, and the calibration of the score."""

    names: tuple[str, ...]  # [F]
    middle: Double  # [F]
    spread: Double  # [F] above 0
    weight: Double  # [F]
    missing: Double  # [F]
    base: float
    slope: float
    level: float

    @property
    def used(self) -> frozenset[str]:
        """Names of the features whose value has a weight; of one that was never there none has."""
        return frozenset(n for n, own in zip(self.names, self.weight != 0, strict=True) if own)

    def score(self, features: Float) -> Double:
        """Return [C] scores of candidates [C, F]."""
        return np.asarray(self.shares(features).sum(axis=1))

    def shares(self, features: Float) -> Double:
        """Return [C, F+1]: what each feature adds to the score, the base last."""
        known = ~np.isnan(features)
        moved = (np.where(known, features, self.middle) - self.middle) / self.spread
        own = moved * self.weight + np.where(known, 0.0, self.missing)
        return np.concatenate([own, np.full((len(features), 1), self.base)], axis=1)

    def probability(self, score: Double) -> Double:
        """Return the calibrated chance that each is what comes next."""
        return np.asarray(1.0 / (1.0 + np.exp(-(self.slope * score + self.level))))

    def told(self, n: int = 10) -> tuple[tuple[str, float], ...]:
        """Return the n heaviest features with their weights, heaviest first."""
        order = np.argsort(-np.abs(self.weight), kind="stable")[:n]
        return tuple((self.names[f], float(self.weight[f])) for f in order)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "logistic.names": ar.text("\n".join(self.names)),
            "logistic.features": np.stack([self.middle, self.spread, self.weight, self.missing]),
            "logistic.numbers": np.array([self.base, self.slope, self.level]),
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        middle, spread, weight, missing = ar.needed(arrays, "logistic.features")
        base, slope, level = ar.needed(arrays, "logistic.numbers").tolist()
        names = tuple(ar.read_text(arrays, "logistic.names").split("\n"))
        return cls(names, middle, spread, weight, missing, base, slope, level)


@dataclass(frozen=True, slots=True, eq=False)
class TrainedLogistic:
    """The fitted weights and how they did on people they had not seen."""

    fitted: FittedLogistic
    ridge: float
    asked: Bool  # [Q]
    ndcg: Double  # [Q] out of fold
    score: Double  # [N] out of fold


def train_logistic(
    table: Table, names: tuple[str, ...], fold: NDArray[np.integer], *, folds: int
) -> TrainedLogistic | None:
    """Return the ranker, or None where no target is among the candidates.

    Parameters
    ----------
    fold : int array [Q]
        Which fold each query is left out of; people are kept together.
    """
    rows_of_fold = np.repeat(fold, table.sizes)  # [N]
    if not table.target.any() or table.target.all():
        return None
    out = {ridge: np.zeros(len(table.target)) for ridge in RIDGES}
    for f in range(folds):
        left, learned = rows_of_fold == f, rows_of_fold != f
        if not left.any():
            continue
        if not table.target[learned].any():
            return None
        for ridge in RIDGES:
            fitted = _fitted(table, learned, names, ridge)
            out[ridge][left] = fitted.score(table.features[left])
    per_query = {ridge: ndcg_per_query(table, served(table, out[ridge])) for ridge in RIDGES}
    ridge = max(RIDGES, key=lambda r: (per_query[r].mean(), r))
    slope, level = platt(out[ridge], table.target)
    fitted = _fitted(table, np.ones(len(table.target), np.bool_), names, ridge)
    whole = FittedLogistic(
        names,
        fitted.middle,
        fitted.spread,
        fitted.weight,
        fitted.missing,
        fitted.base,
        slope,
        level,
    )
    asked = np.ones(len(table.sizes), np.bool_)
    return TrainedLogistic(whole, ridge, asked, per_query[ridge], out[ridge])


def _fitted(table: Table, rows: Bool, names: tuple[str, ...], ridge: float) -> FittedLogistic:
    from sklearn.linear_model import LogisticRegression

    chosen = np.flatnonzero(rows)
    if len(chosen) > MOST_ROWS:
        chosen = chosen[:: -(-len(chosen) // MOST_ROWS)]
    x, y = table.features[chosen].astype(np.float64), table.target[chosen]
    known = ~np.isnan(x)
    count = np.maximum(known.sum(axis=0), 1)
    middle = np.where(known, x, 0.0).sum(axis=0) / count
    moved = np.where(known, x - middle, 0.0)
    spread = np.sqrt(np.square(moved).sum(axis=0) / count)
    # a constant of float32 has a spread of rounding, which must not be blown up
    spread = np.where(spread > 1e-5 * (1.0 + np.abs(middle)), spread, 1.0)
    both = np.concatenate([moved / spread, (~known).astype(np.float64)], axis=1)
    model = LogisticRegression(C=1.0 / ridge, solver="newton-cholesky", tol=1e-8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that stops early is judged out of fold as it is
        model.fit(both, y)
    n = len(names)
    return FittedLogistic(
        names=names,
        middle=middle,
        spread=spread,
        weight=model.coef_[0, :n].copy(),
        missing=model.coef_[0, n:].copy(),
        base=float(model.intercept_[0]),
        slope=1.0,
        level=0.0,
    )
