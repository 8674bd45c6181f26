"""How many users are active: by day, week and month, and how many days of the month."""

from typing import Unpack

import narwhals as nw
import polars as pl

from lifeloop.lifecycle.coverage import covered, covering, stretch, with_neighbours
from lifeloop.lifecycle.frame import Events, Lazy, collect
from lifeloop.lifecycle.options import SMALL_CELL, Options, View, opened
from lifeloop.lifecycle.rates import with_rate
from lifeloop.lifecycle.segments import splitting
from lifeloop.lifecycle.tables import finished, members_of, on_grid

REACH = {"dau": 1, "wau": 7, "mau": 30}
"""How many days each measure looks back, the day itself included."""


@splitting
def active_users(
    events: Events, *, members: bool = False, **options: Unpack[Options]
) -> pl.DataFrame:
    """Return DAU, WAU, MAU and stickiness at the end of each period.

    DAU, WAU, MAU are the distinct users active on d, in [d−6, d], in [d−29, d].
    stickiness = (mean DAU of the last 30 days) / MAU, which is the mean share of the month's days
    that one of its users is active: never the mean of daily ratios.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``.
    members : bool
        Return the users behind every cell instead: period, measure, user_id.
    **options
        See ``Options``. d is the last day of the period, for a running one the last day before
        ``as_of``.

    Returns
    -------
    polars.DataFrame
        (``by``,) period, dau, wau, mau, stickiness, reason (why stickiness is null), partial.

    References
    ----------
    spec/lifecycle.md, section 2.
    """
    view = opened(events, options, named=members)
    days = with_neighbours(view, named=members)
    parts = [
        stretch(
            view,
            days,
            name,
            nw.col("day"),
            nw.min_horizontal(nw.col("after"), nw.col("day") + reach),
        )
        for name, reach in REACH.items()
    ]
    if members:
        rows = covering(view, nw.concat(parts)).rename({"label": "measure"})
        return members_of(view, rows, label="measure")
    parts.append(stretch(view, days, "dau30", nw.col("day"), nw.col("day") + 30))
    names = [*REACH, "dau30"]
    cells = covered(view, nw.concat(parts))
    counts = cells.group_by(*view.by, "period").agg(
        pl.col("users").filter(pl.col("label") == name).sum().cast(pl.Int64).alias(name)
        for name in names
    )
    table = on_grid(view, counts).with_columns(pl.col(names).fill_null(0))
    some = pl.col("mau") > 0
    table = table.with_columns(
        stickiness=pl.when(some).then(pl.col("dau30") / 30 / pl.col("mau")),
        reason=pl.when(~some).then(pl.lit("nobody was active in the last 30 days")),
    )
    return finished(view, table, [*REACH, "stickiness", "reason"], users=pl.col("mau"))


@splitting
def active_day_histogram(
    events: Events, *, members: bool = False, **options: Unpack[Options]
) -> pl.DataFrame:
    """Return how many users were active on 1, 2, …, 30 of the last 30 days of the window.

    The window's last day is ``end``, at most the last day before ``as_of``; the counts add up to
    that day's MAU.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``.
    members : bool
        Return active_days, user_id instead.
    **options
        See ``Options``; ``grain`` has no effect.

    Returns
    -------
    polars.DataFrame
        (``by``,) active_days (1 to 30, all there), n, share, share_low, share_high,
        reason(, small: the segment has few users).
    """
    view = opened(events, options)
    last = -1 if view.empty else min(view.last_day(view.last), view.log.last_day)
    rows = _days_active(view, last)
    if members:
        found = collect(rows)
        return found.select(*view.by, "active_days", "user_id").sort("active_days", "user_id")
    cells = collect(rows.group_by(*view.by, "active_days").agg(n=nw.len()))
    full = pl.DataFrame({"active_days": range(1, 31)}, schema={"active_days": pl.Int64})
    if view.by:
        full = cells.select(view.by).unique().sort(view.by).join(full, how="cross")
    table = full.join(cells, on=[*view.by, "active_days"], how="left").sort(*view.by, "active_days")
    table = table.with_columns(pl.col("n").fill_null(0))
    total = pl.col("n").sum().over(view.by) if view.by else pl.col("n").sum()
    table = with_rate(
        table.with_columns(users=total),
        hits="n",
        n="users",
        name="share",
        reason="nobody was active in the last 30 days",
    )
    if view.by:
        table = table.with_columns(small=pl.col("users") < SMALL_CELL)
    return table.drop("users")


def _days_active(view: View, last: int) -> Lazy:
    days = view.user_days().filter(nw.col("day") > last - 30, nw.col("day") <= last)
    return days.group_by("user_id", *view.by).agg(active_days=nw.len())
