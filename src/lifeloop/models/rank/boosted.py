"""The LightGBM ranker: trees over what the retrievers say, never against what they say.

Loss: rank_xendcg, a listwise cross-entropy that bounds NDCG [bruch2021]. Scores and ranks of the
retrievers are constrained to be monotone: with few people that is what keeps trees from learning
the noise of the validation slice. The number of trees is chosen out of fold by people.

The calibrated chance that a candidate is what comes next is p = 1 / (1 + exp(−(a·s + c))), a and
c fitted on scores out of fold [platt1999].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Double, Float
from lifeloop.models import arrays as ar
from lifeloop.models.rank.calibration import platt
from lifeloop.models.rank.items import CODE
from lifeloop.models.rank.shap import ShapTables
from lifeloop.models.rank.table import Table, ndcg_per_query, served

FOLDS = 5
LARGE = 400_000
"""Rows above which one fold alone is left out, to choose the number of trees."""
EVERY = 20
LEAST_LEAF = 100


@dataclass(frozen=True, slots=True)
class Boosting:
    """Settings of the trees.

    Parameters
    ----------
    rounds : int
        Trees at most; each costs every request some ten microseconds.
    rate : float
        Learning rate.
    leaves : int
        Leaves of a tree; about twice as many above ``LARGE`` rows.
    l2 : float
        Ridge of the leaf values.
    columns, rows : float
        Share of features and rows that a tree sees.
    threads : int
        Of the training; the answer does not depend on it.
    objective : {"rank_xendcg", "regression"}
        The list's cross-entropy, or the share of candidates that come next.
    """

    rounds: int = 200
    rate: float = 0.05
    leaves: int = 15
    l2: float = 5.0
    columns: float = 0.5
    rows: float = 0.7
    threads: int = 2
    objective: Literal["rank_xendcg", "regression"] = "rank_xendcg"


READABLE = Boosting(
    rounds=1, rate=1.0, leaves=8, l2=0.0, columns=1.0, rows=1.0, objective="regression"
)
"""One tree that can be read: the value of a leaf is the share of its candidates that came."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedBooster:
    """A LightGBM text model, and the calibration of its scores."""

    text: str
    names: tuple[str, ...]  # [F]
    slope: float
    level: float
    booster: Any
    tables: ShapTables | None  # None: LightGBM works out what features add
    used: frozenset[str] = frozenset()  # names of the features that some tree asks for

    def score(self, features: Float) -> Double:
        """Return [C] scores of candidates [C, F]."""
        if not len(features):
            return np.empty(0)
        return np.asarray(self.booster.predict(features, num_threads=1), dtype=np.float64)

    def shares(self, features: Float) -> Double:
        """Return [C, F+1]: what each feature adds to the score (TreeSHAP), the bias last."""
        if not len(features):
            return np.empty((0, len(self.names) + 1))
        if self.tables is not None:
            return self.tables.shares(features)
        told = self.booster.predict(features, num_threads=1, pred_contrib=True)
        return np.asarray(told, dtype=np.float64)

    def probability(self, score: Double) -> Double:
        """Return the calibrated chance that each is what comes next."""
        return np.asarray(1.0 / (1.0 + np.exp(-(self.slope * score + self.level))))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "booster.text": ar.text(self.text),
            "booster.names": ar.text("\n".join(self.names)),
            "booster.calibration": np.array([self.slope, self.level]),
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        slope, level = ar.needed(arrays, "booster.calibration").tolist()
        names = tuple(ar.read_text(arrays, "booster.names").split("\n"))
        return cls.of(ar.read_text(arrays, "booster.text"), names, slope=slope, level=level)

    @classmethod
    def of(cls, text: str, names: tuple[str, ...], *, slope: float, level: float) -> Self:
        """Return the model of that text."""
        import lightgbm

        booster = lightgbm.Booster(model_str=text)
        splits = booster.feature_importance("split").tolist()
        used = frozenset(name for name, n in zip(names, splits, strict=True) if n)
        return cls(text, names, slope, level, booster, ShapTables.of(booster), used)


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The fitted trees and how they did on people they had not seen."""

    fitted: FittedBooster
    rounds: int
    asked: Bool  # [Q] queries that were left out of some fold
    ndcg: Double  # [Q] of the ranker, out of fold; 0 where not asked
    score: Double  # [N] out of fold


def train_booster(
    table: Table, names: tuple[str, ...], settings: Boosting, *, rng: np.random.Generator
) -> Trained | None:
    """Return the ranker, or None where no target is among the candidates.

    Parameters
    ----------
    table : Table
        Held-out queries; people are kept together in a fold.
    names : tuple of str
        The features, as ``features.names`` says.
    """
    seed = int(rng.integers(2**31))
    starts = np.concatenate([[0], np.cumsum(table.sizes)[:-1]]).astype(np.int64)
    reached = np.bincount(
        np.repeat(np.arange(len(table.sizes)), table.sizes),
        weights=table.target,
        minlength=len(table.sizes),
    )
    useful = (reached > 0) & (table.sizes > 0)  # [Q]
    if useful.sum() < 2 * FOLDS or not len(starts):
        return None
    fold = rng.permutation(int(table.group.max()) + 1)[table.group] % FOLDS  # [Q]
    left_out = [0] if len(table.target) > LARGE else list(range(FOLDS))
    steps = list(range(EVERY, settings.rounds + 1, EVERY)) or [settings.rounds]
    out = {n: np.zeros(len(table.target)) for n in steps}
    for f in left_out:
        learned = useful & (fold != f)
        if not learned.any():
            return None
        booster = _boosted(table, learned, names, settings, rounds=settings.rounds, seed=seed)
        rows = table.rows_of(fold == f)
        if not rows.any():
            continue
        for n in steps:
            out[n][rows] = booster.predict(table.features[rows], num_iteration=n, num_threads=1)
    asked = np.isin(fold, left_out)
    per_query = {n: ndcg_per_query(table, served(table, out[n])) for n in steps}
    rounds = max(steps, key=lambda n: (per_query[n][asked].mean(), -n))
    slope, level = platt(out[rounds][table.rows_of(asked)], table.target[table.rows_of(asked)])
    booster = _boosted(table, useful, names, settings, rounds=rounds, seed=seed)
    fitted = FittedBooster.of(booster.model_to_string(), names, slope=slope, level=level)
    ndcg = np.where(asked, per_query[rounds], 0.0)
    return Trained(fitted=fitted, rounds=rounds, asked=asked, ndcg=ndcg, score=out[rounds])


def monotone(names: tuple[str, ...]) -> list[int]:
    """Return +1 for what retrievers score, −1 for their ranks, 0 for the rest."""
    found = []
    for name in names:
        owner, _, what = name.partition(".")
        free = owner in ("item", "person", "both") or what not in ("score", "share", "rank")
        found.append(0 if free else -1 if what == "rank" else 1)
    return found


def _boosted(
    table: Table,
    queries: Bool,
    names: tuple[str, ...],
    settings: Boosting,
    *,
    rounds: int,
    seed: int,
) -> Any:
    import lightgbm

    rows = table.rows_of(queries)
    parameters = {
        "objective": settings.objective,
        "learning_rate": settings.rate,
        "num_leaves": settings.leaves if len(table.target) <= LARGE else 2 * settings.leaves + 1,
        "min_data_in_leaf": min(LEAST_LEAF, max(1, int(rows.sum()) // 50)),
        "feature_fraction": settings.columns,
        "bagging_fraction": settings.rows,
        "bagging_freq": 1,
        "lambda_l2": settings.l2,
        "monotone_constraints": monotone(names),
        "seed": seed,
        "objective_seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": settings.threads if len(table.target) > LARGE // 20 else 1,
        "verbose": -1,
    }
    data = lightgbm.Dataset(
        table.features[rows],
        table.target[rows].astype(np.float64),
        group=table.sizes[queries] if settings.objective == "rank_xendcg" else None,
        feature_name=[name.replace(" ", "_") for name in names],
        categorical_feature=[n for n, name in enumerate(names) if name.startswith(f"item.{CODE}")],
        params={"verbose": -1},
    )
    return lightgbm.train(parameters, data, num_boost_round=rounds)
