"""Sessions and traffic: how often people come, and for how long."""

from typing import Any, Unpack

import narwhals as nw
import numpy as np
import polars as pl

from lifeloop.contracts import Long
from lifeloop.errors import InputError
from lifeloop.lifecycle.calendar import days_of
from lifeloop.lifecycle.frame import Events, Lazy, collect, distinct
from lifeloop.lifecycle.options import Options, View, opened
from lifeloop.lifecycle.rates import with_rate
from lifeloop.lifecycle.tables import finished, on_grid

MINUTE_US = 60_000_000
LONGEST_HOURS = 24.0
"""A session of this length ends, whatever the gaps: nobody acts for a day on end."""


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
        zero_share, zero_share_low, zero_share_high, reason, partial.

    References
    ----------
    spec/lifecycle.md, section 2.
    """
    view = opened(events, options, needs=("t_us",))
    rows = session_rows(view, gap_minutes)
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
    values = [
        *("sessions", "visitors", "length_mean_s", "length_mean_nonzero_s", "zero_length"),
        *("zero_share", "zero_share_low", "zero_share_high", "reason"),
    ]
    return finished(view, table, values, users=pl.col("visitors"))


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
    view = opened(events, options, needs=("t_us",))
    people = view.user_periods().filter(
        nw.col("period") >= view.first, nw.col("period") <= view.last
    )
    if members:
        rows = collect(people).rename({"period": "ix"}).join(view.periods(), on="ix", how="inner")
        return rows.select(*view.by, "period", "user_id").sort(*view.by, "period", "user_id")
    keys = [*view.by, "period"]
    visitors = collect(people.group_by(*keys).agg(visitors=nw.len()))
    started = session_rows(view, gap_minutes).group_by(keys).agg(sessions=pl.len().cast(pl.Int64))
    cells = visitors.join(started, on=keys, how="full", coalesce=True)
    table = on_grid(view, cells).with_columns(pl.col("visitors", "sessions").fill_null(0))
    return finished(view, table, ["visitors", "sessions"], users=pl.col("visitors"))


def session_rows(view: View, gap_minutes: float) -> pl.DataFrame:
    """Return one row per session starting in the window.

    Returns
    -------
    polars.DataFrame
        user_id, ``by``, start_us, length_s, events, period (index).
    """
    if not 0 < gap_minutes <= LONGEST_HOURS * 60:
        raise InputError("gap_minutes is out of range", got=gap_minutes, allowed="above 0, to 1440")
    gap_us, longest_us = round(gap_minutes * MINUTE_US), round(LONGEST_HOURS * 60 * MINUTE_US)
    numbered = _numbered(view, gap_us)
    keys = ["user_id", *view.by, "run"]
    runs = numbered.group_by(*keys).agg(
        start_us=nw.col("t_us").min(), end_us=nw.col("t_us").max(), events=nw.col("events").sum()
    )
    rows = collect(runs)
    is_long = pl.col("end_us") - pl.col("start_us") >= longest_us
    if not rows.filter(is_long).is_empty():
        tall = runs.filter(nw.col("end_us") - nw.col("start_us") >= longest_us).select(*keys)
        cut = _cut(collect(numbered.join(tall, on=keys, how="inner")), keys, longest_us)
        rows = rows.filter(~is_long)
        rows = pl.concat(
            [rows, cut.with_columns(run=pl.lit(0, dtype=pl.Int64)).select(rows.columns)]
        )
    day = days_of(rows["start_us"].to_numpy(), view.log.zone)
    rows = rows.with_columns(
        length_s=(pl.col("end_us") - pl.col("start_us")) / 1_000_000,
        period=pl.Series(view.periods_of(day), dtype=pl.Int64),
    )
    shown = rows.filter(pl.col("period") >= view.first, pl.col("period") <= view.last)
    return shown.drop("run", "end_us")


def _numbered(view: View, gap_us: int) -> Lazy:
    in_order: dict[str, Any] = {"order_by": "t_us"}
    # One row per instant: with ties, the two windows below could see different orders.
    acts = distinct(view.active(), view.log.columns)
    timed = acts.group_by("user_id", *view.by, "t_us").agg(events=nw.len())
    opens = timed.with_columns(before=nw.col("t_us").shift(1).over("user_id", **in_order))
    opens = opens.with_columns(
        opens=(nw.col("before").is_null() | (nw.col("t_us") - nw.col("before") >= gap_us)).cast(
            nw.Int64
        )
    )
    return opens.with_columns(run=nw.col("opens").cum_sum().over("user_id", **in_order)).select(
        "user_id", *view.by, "run", "t_us", "events"
    )


def _cut(rows: pl.DataFrame, keys: list[str], longest_us: int) -> pl.DataFrame:
    # Runs without a pause for a day and more: from each session's start jump to the first event
    # a day later, which opens the next one.
    rows = rows.sort(*keys, "t_us")
    t_us = rows["t_us"].to_numpy()
    starts: list[int] = []
    ends: list[int] = []
    for begin, stop in _runs(rows, keys):
        at = begin
        while at < stop:
            after = begin + int(np.searchsorted(t_us[begin:stop], t_us[at] + longest_us))
            starts.append(at)
            ends.append(after)
            at = after
    first, last = np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64) - 1
    opened_at = rows[first]
    so_far = np.append(0, np.cumsum(rows["events"].to_numpy()))
    return opened_at.drop("t_us", "run").with_columns(
        start_us=pl.Series(t_us[first], dtype=pl.Int64),
        end_us=pl.Series(t_us[last], dtype=pl.Int64),
        events=pl.Series(so_far[last + 1] - so_far[first], dtype=pl.Int64),
    )


def _runs(rows: pl.DataFrame, keys: list[str]) -> list[tuple[int, int]]:
    if rows.is_empty():
        return []
    same = rows.select(pl.all_horizontal(pl.col(k) == pl.col(k).shift() for k in keys)).to_series()
    begins: Long = np.flatnonzero(~same.fill_null(value=False).to_numpy())
    stops = np.append(begins[1:], len(rows))
    return list(zip(begins.tolist(), stops.tolist(), strict=True))
