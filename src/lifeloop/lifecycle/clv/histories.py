"""What the models read of each customer: how often, how recently, how long, how much."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.errors import InputError

Floats = NDArray[np.float64]

DAYS_PER = {"day": 1.0, "week": 7.0, "month": 30.4375}
"""Length of each time unit in days."""


@dataclass(frozen=True, eq=False)
class Histories:
    """Purchase histories, checked: shapes [N], one declared time unit.

    Parameters
    ----------
    x : array [N]
        Repeat purchases, whole and at least 0.
    t_x : array [N]
        Time from the first to the last purchase; 0 exactly where ``x`` is 0.
    age : array [N]
        Time from the first purchase to the day of reading, at least ``t_x``.
    unit : str
        ``day``, ``week`` or ``month``.

    Raises
    ------
    InputError
        All faults found, with the first row of each.
    """

    x: Floats
    t_x: Floats
    age: Floats
    unit: str

    def __post_init__(self) -> None:
        """Check the contract of the three columns."""
        if self.unit not in DAYS_PER:
            raise InputError("unknown time unit", got=self.unit, allowed=", ".join(DAYS_PER))
        if not len(self.x) == len(self.t_x) == len(self.age) > 0:
            raise InputError(
                "purchase histories need columns of one length above 0",
                got=(len(self.x), len(self.t_x), len(self.age)),
            )
        finite = np.isfinite(self.x) & np.isfinite(self.t_x) & np.isfinite(self.age)
        rules = {
            "finite numbers": finite,
            "x whole and at least 0": (self.x >= 0) & (self.x == np.round(self.x)),
            "0 <= t_x <= age": (self.t_x >= 0) & (self.t_x <= self.age),
            "t_x = 0 exactly where x = 0": (self.x == 0) == (self.t_x == 0),
        }
        broken = [
            f"row {int(np.flatnonzero(~held)[0])} breaks {rule!r} ({int((~held).sum())} rows)"
            for rule, held in rules.items()
            if not held.all()
        ]
        if broken:
            raise InputError("purchase histories cannot be used", got="; ".join(broken))

    def collapsed(self) -> tuple["Histories", Floats]:
        """Return the distinct histories and how many customers share each."""
        distinct, counts = np.unique(
            np.column_stack([self.x, self.t_x, self.age]), axis=0, return_counts=True
        )  # [K, 3], [K]
        x, t_x, age = distinct.T.copy()
        return Histories(x, t_x, age, self.unit), counts.astype(np.float64)


def histories_of(days: pl.DataFrame, *, as_of: int, unit: str) -> pl.DataFrame:
    """Return one row per buyer from purchases by local day.

    Parameters
    ----------
    days : DataFrame
        ``user_id``, ``day`` (integer days), ``value`` (net money; several rows of a day are added).
    as_of : int
        Day of reading; later purchases are not seen.
    unit : str
        ``day``, ``week`` or ``month``; times come out in it, fractions kept.

    Returns
    -------
    polars.DataFrame
        user_id, x (distinct days - 1), t_x, age, monetary (mean of the repeat days' totals, 0
        where x = 0), ordered by user_id.

    Raises
    ------
    InputError
        An unknown unit, or money that is not a number.

    References
    ----------
    spec/lifecycle.md, section 3 (CDNOW, input contract).
    """
    if unit not in DAYS_PER:
        raise InputError("unknown time unit", got=unit, allowed=", ".join(DAYS_PER))
    if not days["value"].cast(pl.Float64).is_finite().all() or days["value"].has_nulls():
        raise InputError("a purchase without a finite value", allowed="numbers")
    seen = days.filter(pl.col("day") <= as_of)
    daily = seen.group_by("user_id", "day").agg(pl.col("value").cast(pl.Float64).sum())
    daily = daily.sort("user_id", "day")
    first, last = pl.col("day").min(), pl.col("day").max()
    repeats = pl.col("value").filter(pl.col("day") > first)
    return (
        daily.group_by("user_id")
        .agg(
            x=(pl.len() - 1).cast(pl.Float64),
            t_x=(last - first) / DAYS_PER[unit],
            age=(as_of - first) / DAYS_PER[unit],
            monetary=repeats.mean().fill_null(0.0),
        )
        .sort("user_id")
    )
