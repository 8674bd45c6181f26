"""Sessions and traffic: how often people come, and for how long."""

from dataclasses import replace
from typing import Any, Unpack

import narwhals as nw
import numpy as np
import polars as pl

from lifeloop.contracts import Long
from lifeloop.errors import InputError
from lifeloop.lifecycle.calendar import day_expr, days_of
from lifeloop.lifecycle.frame import Events, Lazy, collect, distinct, kept
from lifeloop.lifecycle.numbered import numbered_instants
from lifeloop.lifecycle.options import Options, View, opened
from lifeloop.lifecycle.rates import with_rate
from lifeloop.lifecycle.segments import splitting
from lifeloop.lifecycle.tables import finished, on_grid

MINUTE_US = 60_000_000
LONGEST_HOURS = 24.0
"""A session of this length ends, whatever the gaps: nobody acts for a day on end."""


@splitting
def sessions(
    events: Events,
    *,
    gap_minutes: float = 30.0,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return the number and length of sessions per period.

    An inactivity of ``gap_minutes`` or more, or a length reaching 24 h, opens a new session. A
    session belongs to the local date it starts on and is not cut at midnight;
    length = last − first event.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``.
    gap_minutes : float
        30 for the web, 5 for mobile applications.
    members : bool
        Return the sessions instead: period, user_id, start_us, length_s, events.
    **options
        See ``Options``.

    Returns
    -------
    polars.DataFrame
        (``by``,) period, sessions, visitors, length_mean_s, length_mean_nonzero_s, zero_length,
        zero_share, zero_share_low, zero_share_high, reason (why a number is null), partial.

    References
    ----------
    spec/lifecycle.md, section 2.
    """
    view = opened(events, options, needs=("t_us",), named=members)
    rows = session_rows(view, gap_minutes, counted=members)
    if members:
        dated = rows.rename({"period": "ix"}).join(view.periods(), on="ix", how="inner")
        columns = [*view.by, "period", "user_id", "start_us", "length_s", "events"]
        return dated.select(columns).sort(*view.by, "period", "user_id", "start_us")
    nonzero = pl.col("length_s") > 0
    cells = rows.group_by(*view.by, "period").agg(
        sessions=pl.len().cast(pl.Int64),
        visitors=pl.col("user_id").n_unique().cast(pl.Int64),
        length_mean_s=pl.col("length_s").mean(),
        length_mean_nonzero_s=pl.col("length_s").filter(nonzero).mean(),
        zero_length=(~nonzero).sum().cast(pl.Int64),
    )
    table = on_grid(view, cells)
    counts = ["sessions", "visitors", "zero_length"]
    table = with_rate(
        table.with_columns(pl.col(counts).fill_null(0)),
        hits="zero_length",
        n="sessions",
        name="zero_share",
        reason="no sessions",
    )
    none_longer = (pl.col("sessions") > 0) & pl.col("length_mean_nonzero_s").is_null()
    table = table.with_columns(
        reason=pl.when(none_longer)
        .then(pl.lit("no session is longer than one event"))
        .otherwise("reason")
    )
    values = [
        *("sessions", "visitors", "length_mean_s", "length_mean_nonzero_s", "zero_length"),
        *("zero_share", "zero_share_low", "zero_share_high", "reason"),
    ]
    return finished(view, table, values, users=pl.col("visitors"))


@splitting
def traffic(
    events: Events,
    *,
    gap_minutes: float = 30.0,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return distinct non-bot visitors and sessions per period.

    A visitor is a user active in the period; one who was merged into a user counts once. Sessions
    are counted on the date they start.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``, optionally ``is_bot``.
    gap_minutes : float
        See ``sessions``.
    members : bool
        Return period, user_id of the visitors instead.
    **options
        See ``Options``; ``include_bots=True`` shows the other number.

    Returns
    -------
    polars.DataFrame
        (``by``,) period, visitors, sessions, partial.
    """
    view = opened(events, options, needs=("t_us",), named=members)
    shown = (nw.col("period") >= view.first) & (nw.col("period") <= view.last)
    if members:
        rows = (
            collect(view.user_periods().filter(shown))
            .rename({"period": "ix"})
            .join(view.periods(), on="ix", how="inner")
        )
        return rows.select(*view.by, "period", "user_id").sort(*view.by, "period", "user_id")
    cells = _visits(view, gap_minutes)
    shown_cells = cells.filter(pl.col("period") >= view.first, pl.col("period") <= view.last)
    table = on_grid(view, shown_cells).with_columns(pl.col("visitors", "sessions").fill_null(0))
    return finished(view, table, ["visitors", "sessions"], users=pl.col("visitors"))


def _visits(view: View, gap_minutes: float) -> pl.DataFrame:
    # Visitors and sessions by period in one pass over the events in order: a visitor's first
    # event of a period follows one of an earlier period, a session's first event a long pause.
    gap_us, longest_us = _limits(gap_minutes)
    t_us = nw.col("t_us")
    known = _in_order(view).with_columns(
        was=_day_before(view), opens=(t_us - nw.col("before") >= gap_us).fill_null(value=True)
    )
    # A session of a day or longer goes on over the end of a day of 24 hours.
    turns = known.filter(nw.col("opens") | (nw.col("day") != nw.col("was")) | _over(longest_us))
    turns = turns.with_columns(goes_on=_over(longest_us) & ~nw.col("opens"))
    turns = kept(turns.select("user_id", *view.by, "day", "was", "opens", "goes_on"))
    came = view.with_period(turns, "was").rename({"period": "was_period"})
    came = view.with_period(came).with_columns(
        comes=(nw.col("period") != nw.col("was_period")).fill_null(value=True)
    )
    keys = [*view.by, "period"]
    cells = collect(
        came.group_by(*keys).agg(
            visitors=nw.col("comes").cast(nw.Int64).sum(),
            sessions=nw.col("opens").cast(nw.Int64).sum(),
        )
    )
    more = _cut_off(view, turns.filter(nw.col("goes_on")), gap_us, longest_us)
    if more.is_empty():
        return cells
    return (
        pl.concat([cells, more], how="diagonal")
        .group_by(keys)
        .agg(pl.col("visitors", "sessions").sum())
    )


def _day_before(view: View) -> nw.Expr:
    log = view.log
    if log.lo_us is None or log.hi_us is None:
        return nw.col("before")
    return day_expr("before", zone=log.zone, lo_us=log.lo_us, hi_us=log.hi_us)


def _over(longest_us: int) -> nw.Expr:
    before, now = (nw.col(name) // longest_us for name in ("before", "t_us"))
    return (before != now).fill_null(value=False)


def _cut_off(view: View, turns: Lazy, gap_us: int, longest_us: int) -> pl.DataFrame:
    # The sessions that begin where another one has reached its greatest length.
    users = turns.group_by("user_id").agg()
    if collect(users.head(1)).is_empty():
        return pl.DataFrame()
    frame = view.log.frame.join(users, on="user_id", how="semi")
    few = replace(view, log=view.log.having(frame))
    rows = _paired(collect(_edges(few, gap_us)), ["user_id", *view.by])
    tall = rows.filter(pl.col("end_us") - pl.col("start_us") >= longest_us)
    if tall.is_empty():
        return tall
    more = _cut(few, tall, longest_us).join(tall, on=["user_id", "start_us"], how="anti")
    periods = view.periods_of(days_of(more["start_us"].to_numpy(), view.log.zone))
    dated = more.with_columns(period=pl.Series(periods, dtype=pl.Int64))
    return dated.group_by(*view.by, "period").agg(sessions=pl.len().cast(pl.Int64))


def _limits(gap_minutes: float) -> tuple[int, int]:
    if not 0 < gap_minutes <= LONGEST_HOURS * 60:
        raise InputError("gap_minutes is out of range", got=gap_minutes, allowed="above 0, to 1440")
    return round(gap_minutes * MINUTE_US), round(LONGEST_HOURS * 60 * MINUTE_US)


def session_rows(view: View, gap_minutes: float, *, counted: bool = False) -> pl.DataFrame:
    """Return one row per session starting in the window.

    Parameters
    ----------
    counted : bool
        Count the events of each session, which takes another look at all of them.

    Returns
    -------
    polars.DataFrame
        user_id, ``by``, start_us, length_s, period (index)(, events).
    """
    gap_us, longest_us = _limits(gap_minutes)
    rows = _paired(collect(_edges(view, gap_us)), ["user_id", *view.by])
    tall = rows.filter(pl.col("end_us") - pl.col("start_us") >= longest_us)
    if not tall.is_empty():
        rest = rows.filter(pl.col("end_us") - pl.col("start_us") < longest_us)
        rows = pl.concat([rest, _cut(view, tall, longest_us).select(rest.columns)])
    if counted:
        rows = _with_events(view, rows)
    day = days_of(rows["start_us"].to_numpy(), view.log.zone)
    rows = rows.with_columns(
        length_s=(pl.col("end_us") - pl.col("start_us")) / 1_000_000,
        period=pl.Series(view.periods_of(day), dtype=pl.Int64),
    )
    shown = rows.filter(pl.col("period") >= view.first, pl.col("period") <= view.last)
    return shown.drop("end_us")


def _in_order(view: View) -> Lazy:
    # The active events with the time of the same user's event before and after.
    quick = numbered_instants(view)
    if quick is not None:
        return quick
    in_order: dict[str, Any] = {"order_by": "t_us"}
    t_us, acts = nw.col("t_us"), view.active().select("user_id", *view.by, "t_us", "day")
    return acts.with_columns(
        before=t_us.shift(1).over("user_id", **in_order),
        after=t_us.shift(-1).over("user_id", **in_order),
    )


def _edges(view: View, gap_us: int) -> Lazy:
    # Events that open or close a session. Of several at one instant some row does, whichever.
    t_us = nw.col("t_us")
    edges = (
        _in_order(view)
        .with_columns(
            opens=(t_us - nw.col("before") >= gap_us).fill_null(value=True),
            closes=(nw.col("after") - t_us >= gap_us).fill_null(value=True),
        )
        .filter(nw.col("opens") | nw.col("closes"))
    )
    return edges.select("user_id", *view.by, "t_us", "day", "opens", "closes")


def _paired(edges: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    # The k-th opening of a user goes with the k-th closing. Most sessions are one event: those
    # need no sorting.
    both = pl.col("opens") & pl.col("closes")
    single = edges.filter(both).select(*keys, start_us="t_us", end_us="t_us")
    long = edges.filter(~both)
    order = ["user_id", "t_us"]
    starts = long.filter(pl.col("opens")).sort(order).select(*keys, start_us="t_us")
    ends = long.filter(pl.col("closes")).sort(order).select(end_us="t_us")
    return pl.concat([single, starts.hstack(ends)])


def _timed(view: View, users: pl.DataFrame) -> pl.DataFrame:
    # The instants of these users with their number of events, sorted.
    acts = distinct(view.active(), view.log.columns).select("user_id", "t_us")
    timed = collect(acts.group_by("user_id", "t_us").agg(events=nw.len()))
    return timed.join(users.select("user_id").unique(), on="user_id", how="semi").sort("t_us")


def _with_events(view: View, rows: pl.DataFrame) -> pl.DataFrame:
    starts = rows.select("user_id", t_us="start_us", start_us="start_us").sort("t_us")
    placed = _timed(view, rows).join_asof(starts, on="t_us", by="user_id", check_sortedness=False)
    counts = placed.group_by("user_id", "start_us").agg(pl.col("events").sum())
    return rows.join(counts, on=["user_id", "start_us"], how="left")


def _cut(view: View, tall: pl.DataFrame, longest_us: int) -> pl.DataFrame:
    # Runs without a pause for a day and more: from each session's start jump to the first event
    # a day later, which opens the next one.
    starts = tall.with_columns(t_us=pl.col("start_us")).sort("t_us")
    events = _timed(view, tall).join_asof(starts, on="t_us", by="user_id", check_sortedness=False)
    inside = events.filter(pl.col("t_us") <= pl.col("end_us")).sort("user_id", "start_us", "t_us")
    t_us = inside["t_us"].to_numpy()
    first: list[int] = []
    last: list[int] = []
    for begin, stop in _runs(inside):
        at = begin
        while at < stop:
            after = begin + int(np.searchsorted(t_us[begin:stop], t_us[at] + longest_us))
            first.append(at)
            last.append(after - 1)
            at = after
    return inside[first].with_columns(
        start_us=pl.Series(t_us[first], dtype=pl.Int64),
        end_us=pl.Series(t_us[last], dtype=pl.Int64),
    )


def _runs(rows: pl.DataFrame) -> list[tuple[int, int]]:
    keys = pl.col("user_id", "start_us")
    same = rows.select(pl.all_horizontal(keys == keys.shift())).to_series()
    begins: Long = np.flatnonzero(~same.fill_null(value=False).to_numpy())
    stops = np.append(begins[1:], len(rows))
    return list(zip(begins.tolist(), stops.tolist(), strict=True))
