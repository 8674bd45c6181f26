"""What goes with ending sooner or later: Cox's proportional hazards, by lifelines."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lifeloop.errors import InputError, MissingExtra, Unfit
from lifeloop.lifecycle.churn.curve import check_durations


@dataclass(frozen=True, eq=False)
class Effects:
    """``rows``: covariate, hazard_ratio, hazard_ratio_low, hazard_ratio_high, p, p_proportional.

    A ratio above 1 ends sooner. ``p_proportional`` below 0.05 says that the ratio changes with
    time, so that one number does not tell it; null with late entries. ``concordance`` is 0.5 by
    chance and 1 at best.
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
        A covariate that does not vary, one that separates perfectly who ends, or no convergence.
    MissingExtra
        lifelines is not installed.

    References
    ----------
    cox1972; efron1977.
    """
    _check(table, [duration, ended, *covariates, *([entry] if entry else [])])
    start = np.zeros(len(table)) if entry is None else table[entry].to_numpy().astype(np.float64)
    check_durations(table[duration].to_numpy().astype(np.float64), start)
    columns = _columns(table, covariates)
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
    rows = pl.DataFrame(
        {
            "covariate": [str(name) for name in told.index],
            "hazard_ratio": told["exp(coef)"].to_numpy(),
            "hazard_ratio_low": told["exp(coef) lower 95%"].to_numpy(),
            "hazard_ratio_high": told["exp(coef) upper 95%"].to_numpy(),
            "p": told["p"].to_numpy(),
            "p_proportional": pl.Series(proportional, dtype=pl.Float64),
        }
    )
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


def _columns(table: pl.DataFrame, covariates: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
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
    if flat:
        raise Unfit("covariates that do not vary have no effect to estimate", got=flat)
    return found


def _refuse_separation(data: dict[str, Any], covariates: list[str]) -> None:
    # With a yes-or-no covariate of which one side never ends, its effect grows without bound.
    for name in covariates:
        values = data[name]
        kinds = np.unique(values)
        if len(kinds) == 2:
            ends = [int(data["_e"][values == kind].sum()) for kind in kinds]
            if min(ends) == 0:
                raise Unfit(
                    f"{name!r} separates perfectly: one side of it never ended",
                    got=dict(zip(kinds.tolist(), ends, strict=True)),
                    hint="leave it out, join its values with others, or read a longer log",
                )
