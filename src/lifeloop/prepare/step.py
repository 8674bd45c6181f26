"""One step of a cleaning: which rows it found, what it did to them, and how that is counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

MICRO = 1_000_000
"""Money is added as integers of this fraction, so that a reconciliation is exact."""

EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Step:
    """What one step found and decided.

    Attributes
    ----------
    name : word of the step; the verdict of rows that it sets aside.
    found : Boolean [n], every row that has the property, set aside earlier or not.
    done : what was done, one sentence.
    aside : whether the rows found leave the cleaned frame.
    columns : columns that the step replaces or adds.
    counts : further numbers, by name.
    shown : columns of an example.
    """

    name: str
    found: pl.Series
    done: str
    aside: bool = False
    columns: Mapping[str, pl.Series] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    shown: tuple[str, ...] = ("line", "user_id", "order_id", "item_id", "quantity", "value")


def nowhere(n: int) -> pl.Series:
    """Return a mask that holds nowhere [n]."""
    return pl.Series("found", [False], dtype=pl.Boolean).new_from_index(0, n)


def micros(values: pl.Series) -> pl.Series:
    """Return money as integer millionths; absent and infinite money is 0 [n]."""
    finite = values.cast(pl.Float64).fill_nan(None)
    return (finite.clip(-9e12, 9e12).fill_null(0.0) * MICRO).round(0).cast(pl.Int64)


def of(frame: pl.DataFrame, expr: pl.Expr) -> pl.Series:
    """Return an expression over a frame as a column; absent is False in a mask."""
    found = frame.select(expr.alias("found")).to_series()
    return found.fill_null(value=False) if found.dtype == pl.Boolean else found
