"""Money as integers, so that sums are exact and do not depend on the order of rows."""

import narwhals as nw

MICRO = 1_000_000
"""One unit of currency in the integers used here."""

LIMIT = 1e12
"""Amounts from here on are no money of one line, and would overflow a sum."""


def micros_of(column: str) -> nw.Expr:
    """Return a money column as int64 millionths; null stays null, NaN becomes null.

    An amount of ``LIMIT`` or more either way counts as unknown (null).
    """
    value = nw.col(column).cast(nw.Float64)
    sane = value.is_finite() & (value.abs() < LIMIT)
    return nw.when(sane).then(value * MICRO).otherwise(None).round(0).cast(nw.Int64)
