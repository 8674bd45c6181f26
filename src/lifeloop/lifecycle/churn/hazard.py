"""The chance of churn week by week after a day: a LightGBM hazard in discrete time, calibrated.

N users, K weeks, F features. On day s the hazard of week k is
h_k = P(churned in week k after s | not churned before it, what is known on s), and
P(churned within K weeks) = 1 - Π (1 - h_k). A user whose weeks are not over yet teaches the weeks
that are: that is all that censoring is in discrete time.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from lifeloop.errors import Unfit
from lifeloop.lifecycle.churn.judge import brier
from lifeloop.lifecycle.churn.panel import TEXT, Panel, churn_day_after, standing_at

Floats = NDArray[np.float64]

WEEK = 7
SNAPSHOTS, MOST_ROWS = 20, 1_500_000
FEWEST = 50
"""Fewer churned user-weeks than this teach nothing."""


@dataclass(frozen=True, eq=False)
class Hazard:
    """The fitted trees, how to calibrate them, and what was learned from.

    ``trained_to`` is the last day of which anything was read.
    """

    names: tuple[str, ...]
    weeks: int
    booster: Any
    slope: float
    level: float
    trained_to: int
    rows: int
    churns: int

    @property
    def reads_text(self) -> bool:
        """Whether vectors of text are among the features."""
        return any(name.startswith(TEXT) for name in self.names)

    def raw(self, features: Floats) -> Floats:
        """Return uncalibrated P(churned within the weeks), [N], of features [N, F]."""
        hazard = self._by_week(features)
        return np.asarray(-np.expm1(np.log1p(-hazard).sum(axis=1)), np.float64)

    def probability(self, features: Floats) -> Floats:
        """Return the calibrated P(churned within the weeks), [N]."""
        return _calibrated(self.raw(features), self.slope, self.level)

    def shares(self, features: Floats) -> Floats:
        """Return what each feature adds to the log-odds, the mean over the weeks: [N, F].

        TreeSHAP of the trees; with the bias they add up to the log-odds of the weeks' mean.
        """
        if not len(features):
            return np.empty((0, len(self.names)))
        rows = _crossed(features, self.weeks)
        told = np.asarray(self.booster.predict(rows, pred_contrib=True, num_threads=2))
        told = told.reshape(len(features), self.weeks, -1)
        return np.asarray(told[:, :, : len(self.names)].mean(axis=1), np.float64)

    def _by_week(self, features: Floats) -> Floats:
        if not len(features):
            return np.empty((0, self.weeks))
        said = self.booster.predict(_crossed(features, self.weeks), num_threads=2)
        bounded = np.clip(np.asarray(said, np.float64), 1e-9, 1 - 1e-9)
        return bounded.reshape(len(features), self.weeks)


def fit_hazard(
    panel: Panel,
    *,
    known: int,
    weeks: int,
    rng: np.random.Generator,
    vectors: pl.DataFrame | None = None,
) -> Hazard:
    """Learn from what was known on day ``known``; nothing later is read.

    Trees are first fitted on what was known ``weeks`` before, to be calibrated on what came true
    since (Platt); then once more on everything known. Vectors of text are read only where the
    chances of then, calibrated, had a lower Brier score with them than without.

    Parameters
    ----------
    panel : Panel
        Of the log.
    known : int
        The last day that may teach.
    weeks : int
        How far ahead the risk looks.
    vectors : DataFrame, optional
        See ``standing_at``.

    Raises
    ------
    Unfit
        Too short a log, or too few who churned.

    References
    ----------
    singer1993; platt1999; ke2017.
    """
    before = known - weeks * WEEK
    seed = int(rng.integers(2**31))
    slope, level, read = 1.0, 0.0, None
    least = np.inf
    for told in (None,) if vectors is None else (None, vectors):
        try:
            early = _table(panel, known=before, weeks=weeks, rng=rng, vectors=told)
            first = _trees(*early, weeks=weeks, seed=seed, trained_to=before)
        except Unfit:
            break  # too little came before: the trees speak for themselves
        checked = standing_at(panel, before, vectors=told)
        truth = churned_within(panel, checked, before, weeks)
        if 0 < truth.sum() < len(truth):
            raw = first.raw(matrix(checked))
            tried = _platt(raw, truth)
            off = brier(_calibrated(raw, *tried), truth)
            if off < least:
                least, read, (slope, level) = off, told, tried
    late = _table(panel, known=known, weeks=weeks, rng=rng, vectors=read)
    last = _trees(*late, weeks=weeks, seed=seed, trained_to=known)
    return Hazard(last.names, weeks, last.booster, slope, level, known, last.rows, last.churns)


def churned_within(panel: Panel, rows: pl.DataFrame, day: int, weeks: int) -> NDArray[np.bool_]:
    """Return whether each user of ``standing_at(panel, day)`` was churned within the weeks."""
    users = rows["user"].to_numpy().astype(np.int64)
    return np.asarray(churn_day_after(panel, users, day) <= day + weeks * WEEK)


def matrix(rows: pl.DataFrame) -> Floats:
    """Return the features of ``standing_at`` as numbers, [N, F]; unknown is NaN."""
    return rows.drop("user").cast(pl.Float64).fill_null(np.nan).to_numpy()


def _table(
    panel: Panel,
    *,
    known: int,
    weeks: int,
    rng: np.random.Generator,
    vectors: pl.DataFrame | None,
) -> tuple[Floats, NDArray[np.bool_], tuple[str, ...]]:
    # snapshots a week or more apart, each with the weeks of it that are over by ``known``
    span = known - panel.first_day
    step = max(WEEK, -(-span // SNAPSHOTS))
    features: list[Floats] = []
    target: list[NDArray[np.bool_]] = []
    names: tuple[str, ...] = ()
    for day in range(known - WEEK, panel.first_day, -step):
        rows = standing_at(panel, day, vectors=vectors)
        if rows.is_empty():
            continue
        names = tuple(name for name in rows.columns if name != "user")
        users = rows["user"].to_numpy().astype(np.int64)
        x, falls = matrix(rows), churn_day_after(panel, users, day)
        over = min(weeks, (known - day) // WEEK)
        for k in range(over):
            begin = day + k * WEEK
            still = falls > begin
            features.append(np.column_stack([x[still], np.full(int(still.sum()), k + 1.0)]))
            target.append(falls[still] <= begin + WEEK)
    if not features:
        raise Unfit(
            "the log is too short to learn churn from",
            got=f"{span} days",
            allowed=f"more than twice the {weeks * WEEK} days looked ahead",
            hint="ask for fewer days ahead",
        )
    table, hit = np.concatenate(features), np.concatenate(target)
    if len(hit) > MOST_ROWS:
        picked = rng.choice(len(hit), MOST_ROWS, replace=False)
        table, hit = table[picked], hit[picked]
    return table, hit, names


def _trees(
    table: Floats,
    hit: NDArray[np.bool_],
    names: tuple[str, ...],
    *,
    weeks: int,
    seed: int,
    trained_to: int,
) -> Hazard:
    import lightgbm

    if int(hit.sum()) < FEWEST:
        raise Unfit(
            "too few users churned in the past to learn from",
            got=f"{int(hit.sum())} churned",
            allowed=f"{FEWEST} or more",
            hint="read a longer log, or use the survival curve",
        )
    settings = {
        "objective": "binary", "learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 100,
        "lambda_l2": 5.0, "feature_fraction": 0.7, "bagging_fraction": 0.7, "bagging_freq": 1,
        "verbosity": -1, "num_threads": 2, "seed": seed, "deterministic": True,
        "force_col_wise": True,
    }  # fmt: skip
    data = lightgbm.Dataset(table, label=hit.astype(np.float64), feature_name=[*names, "week"])
    booster = lightgbm.train(settings, data, num_boost_round=120)
    return Hazard(names, weeks, booster, 1.0, 0.0, trained_to, len(hit), int(hit.sum()))


def _crossed(features: Floats, weeks: int) -> Floats:
    week = np.tile(np.arange(1.0, weeks + 1), len(features))
    return np.column_stack([np.repeat(features, weeks, axis=0), week])


def _calibrated(p: Floats, slope: float, level: float) -> Floats:
    return np.asarray(expit(slope * logit(np.clip(p, 1e-9, 1 - 1e-9)) + level), np.float64)


def _platt(p: Floats, truth: NDArray[np.bool_]) -> tuple[float, float]:
    x, y = logit(np.clip(p, 1e-9, 1 - 1e-9)), truth.astype(np.float64)

    def loss(at: Floats) -> tuple[float, Floats]:
        z = at[0] * x + at[1]
        off = expit(z) - y
        value = float(np.mean(np.logaddexp(0, z) - y * z)) + 1e-4 * float((at[0] - 1) ** 2)
        return value, np.array([np.mean(off * x) + 2e-4 * (at[0] - 1), np.mean(off)])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B")
    slope, level = np.asarray(found.x, np.float64).tolist()
    return (slope, level) if slope > 0 else (1.0, 0.0)
