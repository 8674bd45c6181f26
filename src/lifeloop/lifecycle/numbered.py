"""A shortcut on Polars: users as numbers, so that one sort puts every period after the last.

Where nobody asks who the users are, a user and a period fit in one integer. Sorting those is
several times faster than grouping by names and then ordering inside each group, and says the
same; other engines, segments and members take the long way (``View.known_periods``).
"""

import narwhals as nw
import polars as pl

from lifeloop.lifecycle.calendar import day_of
from lifeloop.lifecycle.frame import Lazy
from lifeloop.lifecycle.options import View
from lifeloop.lifecycle.user_numbers import user_numbers

MOST_PERIODS = 1 << 30
"""More periods than this times the users (at most 2^32) would not fit in an int64."""

ROWS = 1 << 34
"""A user's number (below 2^29) and a row fit in one integer. No frame of 2^32 rows is read."""


def numbered_days(view: View, *, far: int) -> Lazy | None:
    """Return each active day of each user once, with its neighbours; None: take the long way.

    Returns
    -------
    lazy frame or None
        user_id (a number), day, before (null: this is the user's first), after (``far``: the
        last). None where users are split or another engine holds the events.
    """
    log = view.log
    if view.by or not log.frame.implementation.is_polars() or log.lo_us is None:
        return None
    low, high = day_of(log.lo_us, log.zone), day_of(log.hi_us or log.lo_us, log.zone)
    wide = high - low + 1
    if wide > MOST_PERIODS:
        return None
    keys = _keys(_acts(view), "day", low=low, wide=wide)
    key, last, next_ = pl.col("key"), pl.col("key").shift(1), pl.col("key").shift(-1)
    once = keys.filter((key != last).fill_null(value=True))
    days = once.select(
        user_id=key // wide,
        day=key % wide + low,
        before=pl.when(last // wide == key // wide).then(last % wide + low),
        after=pl.when(next_ // wide == key // wide).then(next_ % wide + low).otherwise(far),
    )
    found: Lazy = nw.from_native(days)
    return found


def numbered_periods(view: View) -> Lazy | None:
    """Return each active period of each user once, with the one before; None: take the long way.

    Returns
    -------
    lazy frame or None
        period, before (null: this is the user's first), burnt (``View.known_periods``). None
        where users are split, another engine holds the events, or the burn-in ends within a
        period.
    """
    log = view.log
    edge = view.period_of(view.first_new_day)
    if (
        view.by
        or not log.frame.implementation.is_polars()
        or log.lo_us is None
        or log.hi_us is None
        or view.first_day(edge) != view.first_new_day
    ):
        return None
    low, high = (view.period_of(day_of(t, log.zone)) for t in (log.lo_us, log.hi_us))
    wide = high - low + 2  # two apart: the last period of one user, the first of the next
    if wide > MOST_PERIODS:
        return None
    acts = view.with_period(nw.from_native(_acts(view))).to_native()
    keys = _keys(acts, "period", low=low, wide=wide)
    before = pl.col("key").shift(1)
    once = keys.with_columns(before=before).filter((pl.col("key") != before).fill_null(value=True))
    same = pl.col("key") // wide == pl.col("before") // wide
    periods = once.select(
        period=pl.col("key") % wide + low,
        before=pl.when(same).then(pl.col("before") % wide + low),
    )
    found: Lazy = nw.from_native(periods.with_columns(burnt=pl.col("period") < edge))
    return found


def numbered_firsts(view: View) -> Lazy | None:
    """Return each active period of each user once: user_id (a number), cohort (the first), period.

    None: take the long way (see ``numbered_periods``).
    """
    log = view.log
    if view.by or log.named or log.lo_us is None or log.hi_us is None:
        return None
    low, high = (view.period_of(day_of(t, log.zone)) for t in (log.lo_us, log.hi_us))
    wide = high - low + 1
    if wide > MOST_PERIODS:
        return None
    acts = view.with_period(nw.from_native(_acts(view))).to_native()
    keys = _keys(acts, "period", low=low, wide=wide)
    key = pl.col("key")
    once = keys.filter((key != key.shift(1)).fill_null(value=True))
    parts = once.select(user_id=key // wide, period=key % wide + low)
    anew = (pl.col("user_id") != pl.col("user_id").shift(1)).fill_null(value=True)
    found: Lazy = nw.from_native(
        parts.with_columns(cohort=pl.when(anew).then("period").forward_fill())
    )
    return found


def numbered_instants(view: View) -> Lazy | None:
    """Return the active events of each user in order, each with the times before and after it.

    Returns
    -------
    lazy frame or None
        user_id (a number), t_us, day, before, after (µs; null where there is none), sorted by
        user and time. None: take the long way.
    """
    if view.by or view.log.named:
        return None
    acts = _acts(view, "t_us", "day").collect()
    if not acts["t_us"].is_sorted():
        acts = acts.sort("t_us")
    row = pl.int_range(pl.len(), dtype=pl.Int64)
    keys = acts.select(key=pl.col("user_id") * ROWS + row)["key"].sort()
    numbers = pl.select(user_id=keys // ROWS, row=keys % ROWS)
    rows = acts.select("t_us", "day")[numbers["row"]]
    table = rows.with_columns(numbers["user_id"]).lazy()
    user, t_us = pl.col("user_id"), pl.col("t_us")
    found: Lazy = nw.from_native(
        table.with_columns(
            before=pl.when(user == user.shift(1)).then(t_us.shift(1)),
            after=pl.when(user == user.shift(-1)).then(t_us.shift(-1)),
        )
    )
    return found


def _acts(view: View, *columns: str) -> pl.LazyFrame:
    # Who was active when: user_id (a number) and the day, or other columns.
    acts: pl.LazyFrame = view.active().select("user_id", *(columns or ("day",))).to_native()
    if view.log.named:
        acts = acts.with_columns(pl.col("user_id").map_batches(user_numbers, return_dtype=pl.Int32))
    return acts.with_columns(pl.col("user_id").cast(pl.Int64))


def _keys(acts: pl.LazyFrame, column: str, *, low: int, wide: int) -> pl.LazyFrame:
    # Each user's number and the column in one integer, ``key``, in order.
    return acts.select(key=pl.col("user_id") * wide + (pl.col(column) - low)).sort("key")
