"""Counting users by the stretches of days that a state holds for them.

"Active in the last 7 days" or "at risk" holds for a user over whole stretches [begin, until).
Adding one where a stretch begins and taking one where it ends counts every day at once, with
work proportional to the stretches and not to users times days.
"""

from typing import Any

import narwhals as nw
import polars as pl

from lifeloop.lifecycle.frame import Lazy, collect
from lifeloop.lifecycle.numbered import numbered_days
from lifeloop.lifecycle.options import View

FAR = 1 << 40
"""A day number after everything."""


def covered(view: View, stretches: Lazy) -> pl.DataFrame:
    """Return how many stretches hold at the end of each period shown.

    Parameters
    ----------
    view : View
        The window. A period that is not over is measured on the last day before ``as_of``.
    stretches : lazy frame
        user_id, ``by``, label, begin, until: day numbers, half open.

    Returns
    -------
    polars.DataFrame
        ``by``, period (index), label, users; only cells that some stretch ever reached.
    """
    keys = [*view.by, "label"]
    real = stretches.filter(nw.col("begin") < nw.col("until"))
    pairs = collect(real.group_by(*keys, "begin", "until").agg(n=nw.len()))
    changes = pl.concat(
        [
            pairs.select(*keys, at="begin", step="n"),
            pairs.select(*keys, at="until", step=-pl.col("n")),
        ]
    )
    changes = changes.group_by(*keys, "at").agg(pl.col("step").sum())
    levels = changes.sort(*keys, "at").with_columns(users=pl.col("step").cum_sum().over(keys))
    cells = levels.select(keys).unique().join(measured_days(view), how="cross")
    found = cells.sort("at").join_asof(
        levels.select(*keys, "at", "users").sort("at"), on="at", by=keys, check_sortedness=False
    )
    return found.select(*keys, "period", pl.col("users").fill_null(0))


def covering(view: View, stretches: Lazy) -> pl.DataFrame:
    """Return the rows behind ``covered``: ``by``, period (index), label, user_id."""
    rows = collect(stretches.filter(nw.col("begin") < nw.col("until")))
    days = measured_days(view)
    at = days["at"]
    spans = rows.with_columns(
        first=pl.Series(at.search_sorted(rows["begin"], side="left")).cast(pl.Int64),
        stop=pl.Series(at.search_sorted(rows["until"], side="left")).cast(pl.Int64),
    ).filter(pl.col("first") < pl.col("stop"))
    each = spans.with_columns(k=pl.int_ranges("first", "stop")).explode("k")
    return each.with_columns(period=days["period"].gather(each["k"])).select(
        *view.by, "period", "label", "user_id"
    )


def measured_days(view: View) -> pl.DataFrame:
    """Return the day on which each period is measured: period (index), at (day number)."""
    today = view.log.last_day
    periods = range(view.first, view.last + 1)
    ends = [
        min(view.last_day(p), today) if view.first_day(p) <= today else view.last_day(p)
        for p in periods
    ]
    return pl.DataFrame(
        {"period": list(periods), "at": ends}, schema=dict.fromkeys(("period", "at"), pl.Int64)
    )


def with_neighbours(view: View, *, named: bool = True) -> Lazy:
    """Return user-days with the active day before and after: user_id, ``by``, day, before, after.

    ``after`` is far in the future where there is none. Without ``named``, ``user_id`` may be a
    number.
    """
    numbered = None if named else numbered_days(view, far=FAR)
    if numbered is not None:
        return numbered
    in_order: dict[str, Any] = {"order_by": "day"}
    return view.user_days().with_columns(
        before=nw.col("day").shift(1).over("user_id", **in_order),
        after=nw.col("day").shift(-1).over("user_id", **in_order).fill_null(FAR),
    )


def stretch(view: View, days: Lazy, label: str, begin: nw.Expr, until: nw.Expr) -> Lazy:
    """Return one kind of stretch of every user-day."""
    return days.select("user_id", *view.by, label=nw.lit(label), begin=begin, until=until)
