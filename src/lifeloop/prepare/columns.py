"""Column work at the end of a cleaning: gaps, outliers and scales, as the scenario says."""

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
import polars as pl

from lifeloop.cleaning_settings import Clean
from lifeloop.prepare.missing import fill
from lifeloop.prepare.outliers import bounds
from lifeloop.prepare.report import ColumnReport
from lifeloop.prepare.scale import fit_scale

_PLAIN = (
    "line",
    "refused",
    "verdict",
    "money",
    "visitor",
    "is_line",
    "context",
    "attributes",
    "consent",
)
_IDS = ("user_id", "item_id", "event_id", "order_id", "line_id", "anonymous_id", "session_id")
Kind = Literal["events", "items", "users"]


def prepared_columns(
    rows: pl.DataFrame,
    kind: str,
    *,
    names: Sequence[str],
    rules: Clean,
    judged: pl.Series,
    rng: np.random.Generator,
) -> tuple[pl.DataFrame, tuple[ColumnReport, ...]]:
    """Fill gaps, flag and cap outliers, add scales; the original column is never changed.

    Adds ``<column>_filled``, ``<column>_outlier``, ``<column>_capped`` and ``<column>_scaled``:
    a scale is fitted on what was filled and capped.

    Parameters
    ----------
    names : columns that the data itself has.
    judged : Boolean [n]
        Rows from which the usual range and the scale are learned (sales, without what was set
        aside).
    """
    methods = getattr(rules.missing, kind)
    scales = getattr(rules.normalise, kind)
    reports: list[ColumnReport] = []
    for name in names:
        if name in _PLAIN or name not in rows.columns:
            continue
        method = methods.get(name, "leave")
        limit = rules.outliers.get(name, "none") if rows[name].dtype.is_numeric() else "none"
        scale = scales.get(name, "none")
        gaps = rows[name].null_count()
        if gaps in (0, rows.height) and (method, limit, scale) == ("leave", "none", "none"):
            continue
        rows, report = _one(rows, name, (method, limit, scale), rules, judged, rng)
        reports.append(report)
    reports += [
        ColumnReport(name, 0, f"there is no column {name!r} here")
        for name in {**methods, **scales}
        if name not in names
    ]
    return rows, tuple(reports)


def _one(
    rows: pl.DataFrame,
    name: str,
    chosen: tuple[str, str, str],
    rules: Clean,
    judged: pl.Series,
    rng: np.random.Generator,
) -> tuple[pl.DataFrame, ColumnReport]:
    method, limit, scale = chosen
    gaps = rows[name].null_count()
    features = tuple(c for c in rows.columns if c not in (*_PLAIN, *_IDS))
    filled = fill(rows, name, method=method, rng=rng, features=features)
    added: dict[str, pl.Series] = {}
    if filled.filled:
        added[f"{name}_filled"] = filled.values
    low = high = None
    n_outliers = 0
    capped = filled.values
    if limit != "none" and capped.dtype.is_numeric():
        values = _numbers(filled.values)
        usual = bounds(
            values[judged.to_numpy()],
            method=limit,
            robust_z=rules.robust_z,
            iqr_factor=rules.iqr_factor,
            log=rules.log_outliers,
        )
        if usual is not None:
            outside = usual.outside(values) & judged.to_numpy()
            n_outliers, low, high = int(outside.sum()), usual.low, usual.high
            added[f"{name}_outlier"] = pl.Series(outside)
            capped = _column(np.where(judged.to_numpy(), usual.capped(values), values))
            added[f"{name}_capped"] = capped
    if scale != "none" and capped.dtype.is_numeric():
        values = _numbers(capped)
        fitted = fit_scale(values[judged.to_numpy()], method=scale)
        added[f"{name}_scaled"] = _column(fitted.apply(values))
    rows = rows.with_columns([s.alias(n) for n, s in added.items()])
    report = ColumnReport(
        name, gaps, method, filled.filled, filled.how, n_outliers, low, high, scale
    )
    return rows, report


def _numbers(values: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    found = values.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return cast("np.ndarray[tuple[int], np.dtype[np.float64]]", found)


def _column(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> pl.Series:
    return pl.Series(values).fill_nan(None)
