"""What goes with ending sooner or later: Cox's proportional hazards, by lifelines."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lifeloop.errors import InputError, MissingExtra, Unfit
from lifeloop.lifecycle.churn.curve import check_durations

FLAT = "everybody has the same value"
UNSEEN = {"covariate": pl.String, "reason": pl.String}


@dataclass(frozen=True, eq=False)
class Effects:
    """``rows``: covariate, hazard_ratio, _low, _high, p, p_proportional, reason (of the nulls).

    A ratio above 1 ends sooner. ``p_proportional`` below 0.05 says that the ratio changes with
    time, so that one number does not tell it; null with late entries. A covariate that does not
    vary is told with nulls and the reason. ``concordance`` is 0.5 by chance and 1 at best.
    """

    rows: pl.DataFrame
    concordance: float
    n: int
    ends: int


def fit_cox(
    table: pl.DataFrame,
    *,
    duration: str,
    ended: str,
    covariates: Sequence[str],
    entry: str | None = None,
) -> Effects:
    """Fit h(t | z) = h0(t) exp(b'z) by partial likelihood (Efron's ties).

    Parameters
    ----------
    table : DataFrame
        One row each; text covariates become one column per value but the most frequent.
    duration, ended, entry : str
        Columns as for ``kaplan_meier``.
    covariates : sequence of str
        Columns, numbers or text.

    Raises
    ------
    InputError
        A column that is not there, a covariate with missing values, durations not after entries.
    Unfit
        No covariate that varies, one that separates perfectly who ends, or no convergence.
    MissingExtra
        lifelines is not installed.

    References
    ----------
    cox1972; efron1977.
    """
    _check(table, [duration, ended, *covariates, *([entry] if entry else [])])
    start = np.zeros(len(table)) if entry is None else table[entry].to_numpy().astype(np.float64)
    check_durations(table[duration].to_numpy().astype(np.float64), start)
    columns, flat = _columns(table, covariates)
    data: dict[str, Any] = dict(columns)
    data |= {"_t": table[duration].to_numpy(), "_e": table[ended].to_numpy().astype(int)}
    if entry is not None:
        data["_s"] = start
    _refuse_separation(data, list(columns))
    try:
        from lifelines import CoxPHFitter
        from lifelines.exceptions import ConvergenceError
        from lifelines.statistics import proportional_hazard_test
    except ImportError:
        raise MissingExtra("Cox regression", "survival") from None
    fitter = CoxPHFitter()
    frame = pl.DataFrame(data).to_pandas()
    proportional: list[float | None] = [None] * len(columns)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitter.fit(frame, "_t", "_e", entry_col="_s" if entry else None)
            if entry is None:  # lifelines has no residuals with late entries
                tested = proportional_hazard_test(fitter, frame, time_transform="rank")
                proportional = np.atleast_1d(tested.p_value).astype(np.float64).tolist()
    except (ConvergenceError, ValueError, np.linalg.LinAlgError) as fault:
        raise Unfit(
            "Cox regression did not converge",
            got=str(fault).splitlines()[0][:120],
            hint="leave out covariates that say the same, or that only few users have",
        ) from None
    told = fitter.summary
    if not np.isfinite(told[["exp(coef) upper 95%", "p"]].to_numpy()).all():
        raise Unfit(
            "Cox regression found an effect without bound", got=", ".join(columns),
            hint="leave out covariates that only few users have, or read a longer log",
        )  # fmt: skip
    rows = pl.DataFrame(
        {
            "covariate": [str(name) for name in told.index],
            "hazard_ratio": told["exp(coef)"].to_numpy(),
            "hazard_ratio_low": told["exp(coef) lower 95%"].to_numpy(),
            "hazard_ratio_high": told["exp(coef) upper 95%"].to_numpy(),
            "p": told["p"].to_numpy(),
            "p_proportional": pl.Series(proportional, dtype=pl.Float64),
            "reason": pl.Series([None] * len(told), dtype=pl.String),
        }
    )
    unseen = pl.DataFrame({"covariate": flat, "reason": [FLAT] * len(flat)}, UNSEEN)
    rows = pl.concat([rows, unseen], how="diagonal")
    ends = int(table[ended].sum())
    return Effects(rows, float(fitter.concordance_index_), len(table), ends)


def _check(table: pl.DataFrame, names: Sequence[str]) -> None:
    absent = [name for name in names if name not in table.columns]
    if absent:
        raise InputError("columns are not there", got=absent, allowed=", ".join(table.columns))
    holes = {name: table[name].null_count() for name in names if table[name].null_count()}
    for name in names:
        if table[name].dtype.is_float():
            holes[name] = holes.get(name, 0) + int(table[name].is_nan().sum())
    holes = {name: n for name, n in holes.items() if n}
    if holes:
        raise InputError(
            "columns with missing values", got=holes,
            hint="fill them, call them a value of their own, or leave these rows out",
        )  # fmt: skip


def _columns(
    table: pl.DataFrame, covariates: Sequence[str]
) -> tuple[dict[str, np.ndarray[Any, Any]], list[str]]:
    """Return the columns to fit, and the names of those that are the same for everybody."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    for name in covariates:
        column = table[name]
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            found[name] = column.to_numpy().astype(np.float64)
        else:
            texts = column.cast(pl.String)
            kinds = texts.value_counts(sort=True)[name].to_list()
            for kind in sorted(kinds[1:]):
                found[f"{name}={kind}"] = (texts == kind).to_numpy().astype(np.float64)
            if len(kinds) == 1:
                found[name] = np.zeros(len(table))
    flat = [name for name, values in found.items() if np.ptp(values) == 0]
    if len(flat) == len(found):
        raise Unfit("covariates that do not vary have no effect to estimate", got=flat)
    return {name: values for name, values in found.items() if name not in flat}, flat


def _refuse_separation(data: dict[str, Any], covariates: list[str]) -> None:
    # If whoever ends always has the largest (or the smallest) value of all who could have ended
    # then, the likelihood grows with the effect without bound.
    if not data["_e"].any():
        raise Unfit(
            "nobody has ended yet, so no effect can be seen", got=f"{len(data['_e'])} watched",
            hint="wait, read a longer log, or call a shorter silence churn",
        )  # fmt: skip
    for name in covariates:
        if any(_monotone(data, sign * data[name]) for sign in (1.0, -1.0)):
            raise Unfit(
                f"{name!r} separates perfectly: it says who ends next at every end",
                got=f"{int(data['_e'].sum())} ends",
                hint="leave it out, join its values with others, or read a longer log",
            )
    if "_s" not in data and len(covariates) > 1 and _jointly(data, covariates):
        raise Unfit(
            "the covariates together separate perfectly: they say who ends next at every end",
            got=", ".join(covariates),
            hint="leave some out, or read a longer log",
        )


def _jointly(data: dict[str, Any], covariates: list[str]) -> bool:
    # Is there b with b'z of each end at least that of all still watched? As the watched only get
    # fewer, it is enough that each end is not below the next end, nor below whoever is last seen
    # between the two; ends of one time are equal. A linear program, exact.
    from scipy.optimize import linprog

    z = np.column_stack([data[name] for name in covariates])
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    order = np.lexsort((1 - data["_e"], data["_t"]))  # ends first within a time
    z, time, ended = z[order], data["_t"][order], data["_e"][order] == 1
    ends = np.flatnonzero(ended)
    before = ends[np.maximum(np.searchsorted(ends, np.arange(len(z)), side="left") - 1, 0)]
    after = np.arange(len(z)) > ends[0]
    gaps = (z[before] - z)[after]
    tied = ended[after] & (time[before] == time)[after]
    apart = gaps[~tied]
    if not len(apart):
        return False
    found = linprog(
        -apart.sum(axis=0), A_ub=-apart, b_ub=np.zeros(len(apart)),
        A_eq=gaps[tied], b_eq=np.zeros(int(tied.sum())),
        bounds=[(-1, 1)] * z.shape[1],
    )  # fmt: skip
    return bool(found.status == 0 and -found.fun > 1e-6 * len(z))


def _monotone(data: dict[str, Any], score: np.ndarray[Any, Any]) -> bool:
    until, ended = data["_t"], data["_e"] == 1
    order = np.argsort(-until, kind="stable")
    if "_s" not in data:
        most = np.maximum.accumulate(score[order])  # among those watched at least as long
        last = np.searchsorted(-until[order], -until[ended], side="right") - 1
        return bool((score[ended] >= most[last]).all())
    begin = data["_s"]
    for time in np.unique(until[ended]):
        watched = (begin < time) & (until >= time)
        if (score[ended & (until == time)] < score[watched].max()).any():
            return False
    return True
