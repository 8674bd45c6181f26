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
    z : array [N, Q], optional
        Covariates that do not change with time, finite, for the model that reads them.
    z_names : tuple of str
        Their Q names.

    Raises
    ------
    InputError
        All faults found, with the first row of each.
    """

    x: Floats
    t_x: Floats
    age: Floats
    unit: str
    z: Floats | None = None
    z_names: tuple[str, ...] = ()

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
        if self.z is not None:
            self._check_covariates(self.z)

    def covariates(self) -> Floats:
        """Return ``z`` [N, Q].

        Raises
        ------
        InputError
            These histories have none.
        """
        if self.z is None:
            raise InputError("this model reads covariates, and these histories have none")
        return self.z

    def rows(self, at: "slice | NDArray[np.int64]") -> "Histories":
        """Return some of the customers."""
        z = None if self.z is None else self.z[at]
        return Histories(self.x[at], self.t_x[at], self.age[at], self.unit, z, self.z_names)

    def distinct(self) -> tuple["Histories", NDArray[np.int64]]:
        """Return the distinct histories and which of them each customer has, [N]."""
        keys = np.column_stack([self.x, self.t_x, self.age, *([] if self.z is None else [self.z])])
        # sorted as np.unique(axis=0) does, column by column: several times faster
        order = np.lexsort(keys.T[::-1])
        ordered = keys[order]
        new = np.ones(len(order), np.bool_)
        new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        which = np.empty(len(order), np.int64)
        which[order] = np.cumsum(new) - 1
        return self.rows(order[new]), which

    def collapsed(self) -> tuple["Histories", Floats]:
        """Return the distinct histories and how many customers share each."""
        rows, which = self.distinct()  # [K], [N]
        return rows, np.bincount(which).astype(np.float64)

    def _check_covariates(self, z: Floats) -> None:
        if z.shape != (len(self.x), len(self.z_names)):
            raise InputError(
                "covariates need one row per customer and one name per column",
                got=(z.shape, self.z_names),
                allowed=f"{len(self.x)} rows",
            )
        holes = ~np.isfinite(z)
        if holes.any():
            counts = zip(self.z_names, holes.sum(axis=0).tolist(), strict=True)
            raise InputError(
                "covariates with missing values", got={name: n for name, n in counts if n},
                hint="fill them, call them a value of their own, or leave these customers out",
            )  # fmt: skip


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
