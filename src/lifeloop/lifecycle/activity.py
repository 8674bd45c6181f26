"""The seven activity states: how recently a user was active, and after what silence."""

from typing import Unpack

import narwhals as nw
import numpy as np
import polars as pl

from lifeloop.contracts import Bool, Int, Long
from lifeloop.lifecycle.coverage import covered, covering, stretch, with_neighbours
from lifeloop.lifecycle.frame import Events, Lazy, collect
from lifeloop.lifecycle.options import Options, View, opened
from lifeloop.lifecycle.rates import with_rate
from lifeloop.lifecycle.segments import splitting
from lifeloop.lifecycle.tables import counted, finished, members_of

STATES = (
    "new",
    "current",
    "reactivated",
    "resurrected",
    "at_risk_wau",
    "at_risk_mau",
    "dormant",
)
"""Four states of users active today, then three of users who are not."""

WEEK, MONTH = 6, 29
"""Silence of at most this many days keeps a user in WAU, in MAU."""


RETURNS = {"new": "nurr", "current": "curr", "reactivated": "rurr", "resurrected": "surr"}
"""Names of the return rates of the four active states."""


@splitting
def activity_states(
    events: Events, *, members: bool = False, **options: Unpack[Options]
) -> pl.DataFrame:
    """Return how many users are in each of the seven activity states at the end of each period.

    With g the days since the last active day: active today → new (first day), current (g ≤ 6),
    reactivated (7–29), resurrected (≥ 30); not active today → at_risk_wau (g ≤ 6), at_risk_mau
    (7–29), dormant (≥ 30). Every user seen by then is in exactly one. So DAU is the sum of the
    four active states, WAU = DAU + at_risk_wau, MAU = WAU + at_risk_mau.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``.
    members : bool
        Return one row per user and period instead: period, state, user_id.
    **options
        See ``Options``. The first day of a user first seen in the burn-in counts as current:
        nothing is known of the silence before it.

    Returns
    -------
    polars.DataFrame
        (``by``,) period, one count per state, partial(, small).

    References
    ----------
    spec/lifecycle.md, sections 2 and 3 (seven states).
    """
    view = opened(events, options, named=members)
    stretches = state_stretches(view, named=members)
    if members:
        rows = covering(view, stretches).rename({"label": "state"})
        return members_of(view, rows, label="state")
    return counted(view, covered(view, stretches), label="label", names=STATES)


@splitting
def return_rates(
    events: Events, *, members: bool = False, **options: Unpack[Options]
) -> pl.DataFrame:
    """Return CURR, NURR, RURR and SURR: who of each active state of day d is active on d + 1.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``.
    members : bool
        Return the user-days instead: period, measure, date, user_id, returned (bool).
    **options
        See ``Options``; with a longer ``grain`` the user-days of the period are pooled.

    Returns
    -------
    polars.DataFrame
        (``by``,) period, measure ("curr", …), n, returned, value, value_low, value_high, reason,
        partial (the day after the period is not complete)(, small).
    """
    view = opened(events, options, named=members)
    days = view.with_period(_with_state(view, named=members)).with_columns(
        back=(nw.col("after") == nw.col("day") + 1).cast(nw.Int64)
    )
    names = pl.DataFrame({"state": list(RETURNS), "measure": list(RETURNS.values())})
    if members:
        return _returners(view, collect(days), names)
    keys = [*view.by, "period", "state"]
    cells = collect(days.group_by(*keys).agg(n=nw.len(), returned=nw.col("back").sum()))
    grid = view.grid(cells).join(names, how="cross", maintain_order="left_right")
    found = cells.rename({"period": "ix"})
    table = grid.join(
        found, on=[*view.by, "ix", "state"], how="left", maintain_order="left"
    ).with_columns(pl.col("n", "returned").fill_null(0))
    table = with_rate(table, hits="returned", name="value", reason="no users in this state")
    newest = view.last_complete_day
    ends = [view.last_day(p) + 1 > newest for p in table["ix"].to_list()]
    table = table.with_columns(partial=pl.Series(ends, dtype=pl.Boolean))
    values = ["measure", "n", "returned", "value", "value_low", "value_high", "reason"]
    return finished(view, table, values, users=pl.col("n"))


def _returners(view: View, days: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    dated = days.rename({"period": "ix"}).join(view.periods(), on="ix", how="inner")
    keys = [*view.by, "period", "measure", "date", "user_id"]
    return (
        dated.join(names, on="state", how="inner")
        .with_columns(date=pl.col("day").cast(pl.Int32).cast(pl.Date), returned=pl.col("back") == 1)
        .select(*keys, "returned")
        .sort(keys)
    )


def _with_state(view: View, *, named: bool) -> Lazy:
    days = with_neighbours(view, named=named)
    silent = nw.col("day") - nw.col("before")
    burnt_in = nw.col("day") >= view.first_new_day
    state = (
        nw.when(nw.col("before").is_null() & burnt_in)
        .then(nw.lit("new"))
        .otherwise(
            nw.when(nw.col("before").is_null() | (silent <= WEEK))
            .then(nw.lit("current"))
            .otherwise(
                nw.when(silent <= MONTH)
                .then(nw.lit("reactivated"))
                .otherwise(nw.lit("resurrected"))
            )
        )
    )
    return days.with_columns(state=state)


def state_stretches(view: View, *, named: bool = True) -> Lazy:
    """Return the stretches of days of each state and user: user_id, ``by``, label, begin, until.

    Without ``named``, ``user_id`` may be a number.
    """
    days = _with_state(view, named=named)
    day, after = nw.col("day"), nw.col("after")
    active = days.select("user_id", *view.by, label=nw.col("state"), begin=day, until=day + 1)
    silent = [
        stretch(view, days, name, day + begin, nw.min_horizontal(after, day + until))
        for name, begin, until in (
            ("at_risk_wau", 1, WEEK + 1),
            ("at_risk_mau", WEEK + 1, MONTH + 1),
        )
    ]
    return nw.concat([active, *silent, stretch(view, days, "dormant", day + MONTH + 1, after)])


def state_codes(
    day: int | Long, *, last_active: Long, previous_active: Long, existing: Bool
) -> Int:
    """Return the index in ``STATES`` on ``day``; -1 for users never active by then. [U].

    Parameters
    ----------
    day : int or array [U]
        Day number.
    last_active, previous_active : array [U]
        The newest and second newest active days up to ``day``; far below zero for none.
    existing : array of bool [U]
        Users who may have been there before the log starts: their first day is ``current``,
        because nothing is known of the silence before it.
    """
    never = -(1 << 39)
    today = last_active == day
    since = day - np.where(today, previous_active, last_active)
    first = previous_active < never
    known = np.select([since <= WEEK, since <= MONTH], [0, 1], 2)
    active = np.where(first, np.where(existing, 1, 0), known + 1)
    codes = np.where(today, active, known + 4)
    return np.where(last_active < never, -1, codes).astype(np.int32)
