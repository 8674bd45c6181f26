"""Events to days: one row per user and local day on which anything happened.

The engine that holds the events does this aggregation; everything about stages is then
arithmetic on these few integer columns (``path``), for any batch of whole users.
"""

from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
from narwhals.typing import IntoFrame

from lifeloop.contracts import Bool, Double, Int, Long
from lifeloop.lifecycle.calendar import day_of
from lifeloop.lifecycle.definitions import StageDefinitions
from lifeloop.lifecycle.frame import Lazy, Log, collect, distinct, of_types
from lifeloop.lifecycle.predictions import COLUMNS, predicted
from lifeloop.lifecycle.purchases import order_changes
from lifeloop.lifecycle.user_numbers import Names, parts, user_numbers

RARE = ("joined", "keys", "ended")


class DayTable:
    """Arrays with one entry per user-day, sorted by (user, day). n rows, U users.

    ``user`` is the dense index of the user, ``starts`` where each user begins (and n, last).
    ``active`` the user did something; ``joined``, ``ended`` such an event fell on the day;
    ``keys`` key actions; ``d_orders`` the change in the number of net-positive orders.
    ``value_high``, ``p_low`` and ``p_alive`` (NaN: unknown) are the predictions that hold.
    """

    __slots__ = (
        "active",
        "d_orders",
        "day",
        "ended",
        "joined",
        "keys",
        "p_alive",
        "p_low",
        "starts",
        "user",
        "value_high",
    )

    def __init__(
        self,
        day: Long,  # [n]
        starts: Long,  # [U+1]
        *,
        active: Bool,  # [n]
        joined: Bool,  # [n]
        keys: Int,  # [n]
        d_orders: Int,  # [n]
        ended: Bool,  # [n]
        value_high: Bool | None = None,  # [n]
        p_low: Bool | None = None,  # [n]
        p_alive: Double | None = None,  # [n]
    ) -> None:
        self.day = day
        self.starts = starts
        self.user = np.repeat(np.arange(len(starts) - 1), np.diff(starts))  # [n]
        self.active = active
        self.joined = joined
        self.keys = keys
        self.d_orders = d_orders
        self.ended = ended
        nothing = np.zeros(len(day), dtype=bool)
        self.value_high = nothing if value_high is None else value_high
        self.p_low = nothing if p_low is None else p_low
        self.p_alive = np.full(len(day), np.nan) if p_alive is None else p_alive

    def __len__(self) -> int:
        return len(self.day)

    def part(self, first: int, stop: int) -> "DayTable":
        """Return the days of the users from ``first`` up to, not including, ``stop``."""
        a, b = int(self.starts[first]), int(self.starts[stop])
        names = (*DAY_SCHEMA, "value_high", "p_low", "p_alive")
        columns = {name: getattr(self, name)[a:b] for name in names}
        return DayTable(columns.pop("day"), self.starts[first : stop + 1] - a, **columns)


SPAN_BITS = 28
SPAN = 1 << SPAN_BITS
"""More days than any calendar has: a user's place and a day fit in one integer."""

DAY_SCHEMA: dict[str, Any] = {
    "day": pl.Int32,
    "active": pl.Boolean,
    "joined": pl.Boolean,
    "keys": pl.Int32,
    "ended": pl.Boolean,
    "d_orders": pl.Int32,
}
"""Columns of ``day_frame``, besides the user."""


def day_table(
    log: Log, definitions: StageDefinitions, predictions: IntoFrame | None = None
) -> tuple[pl.Series, DayTable]:
    """Return the user ids [U] (sorted) and their days; see ``predictions.predicted``."""
    users, table = numbered_days(log, definitions)
    if predictions is not None:
        named = table.with_columns(user_id=users.gather(table["ix"]))
        table = with_predicted(named, predicted(predictions), last_day=log.last_day)
        table = placed(table.drop("ix"), users).sort("ix", "day")
    ix = table["ix"].to_numpy()
    starts = np.append(np.flatnonzero(np.append(True, ix[1:] != ix[:-1])[: len(ix)]), len(ix))
    return users, table_of(table, starts)


def day_frame(log: Log, definitions: StageDefinitions) -> pl.DataFrame:
    """Return one row per user and day with any event: user_id, ``DAY_SCHEMA``."""
    users, table = numbered_days(log, definitions)
    named = table.with_columns(user_id=users.gather(table["ix"]))
    return named.select("user_id", *DAY_SCHEMA)


def numbered_days(log: Log, definitions: StageDefinitions) -> tuple[pl.Series, pl.DataFrame]:
    """Return the user ids [U], sorted, and ``day_frame`` by their place ``ix`` and day, sorted."""
    d = definitions
    users, days, places = _sorted_days(log, d.passive) or (*_grouped_days(log, d.passive), None)
    first = days["day"].min()
    low = 0 if first is None else int(str(first))
    key = _key(days, low)
    rare = [
        ("d_orders", order_changes(log, d.orders, d.refunds)),
        *((name, _times(log, types, name)) for name, types in _rare(d).items()),
    ]
    counts = {}
    for name, frame in rare:
        found = collect(frame)
        rows = placed(found, users) if places is None else _by_number(found, places)
        counts[name] = np.zeros(len(days), dtype=np.int32)
        asked = _key(rows, low)
        order = np.argsort(asked)  # so that the search walks through the days once, in order
        at = np.searchsorted(key, asked[order])
        counts[name][at] = rows[name].to_numpy()[order]
    table = days.with_columns(pl.Series(name, values) for name, values in counts.items())
    return users, table.select(
        "ix",
        *(
            (pl.col(name) > 0) if kind == pl.Boolean else pl.col(name).cast(kind)
            for name, kind in DAY_SCHEMA.items()
        ),
    )


def _key(rows: pl.DataFrame, low: int) -> Long:
    days = rows["day"].to_numpy().astype(np.int64) - low
    return rows["ix"].to_numpy().astype(np.int64) * SPAN + days


def _grouped_days(log: Log, passive: tuple[str, ...]) -> tuple[pl.Series, pl.DataFrame]:
    # User-days with whether active, on any engine: ix, day, active (0/1).
    acts = log.frame.with_columns(active=(~of_types(passive)).cast(nw.Int8))
    found = collect(acts.group_by("user_id", "day").agg(active=nw.col("active").max()))
    users = found["user_id"].unique(maintain_order=False).sort()
    return users, placed(found, users).sort("ix", "day")


def _sorted_days(
    log: Log, passive: tuple[str, ...]
) -> tuple[pl.Series, pl.DataFrame, Int | None] | None:
    # The same where Polars holds the events: user, day and activity in one integer, which sorts
    # several times faster than names group; and the place of each user's number, where the log
    # has numbers. None where another engine holds the events.
    if not log.frame.implementation.is_polars() or log.lo_us is None or log.hi_us is None:
        return None
    low, high = day_of(log.lo_us, log.zone), day_of(log.hi_us, log.zone)
    if high - low >= SPAN:
        return None
    active = (~of_types(passive)).cast(nw.Int64)
    native: pl.LazyFrame = log.frame.select("user_id", "day", active=active).to_native()
    acts = native.select("user_id", day=(pl.col("day") - low) * 2 + pl.col("active")).collect()
    who = acts["user_id"]
    names = log.names or Names(who, user_numbers(who))
    numbers = names.numbers if log.named else who
    users, places = names.sorted(numbers)
    own, of_day = numbers.to_numpy(), acts["day"].to_numpy()
    keys: Long = np.empty(len(acts), dtype=np.int64)
    for part in parts(len(keys)):
        keys[part] = places[own[part]].astype(np.int64) * (2 * SPAN) + of_day[part]
    key = pl.Series(keys).sort().to_numpy()
    last = np.ones(len(key), dtype=bool)  # the last of each user and day is active, if any is
    for part in parts(len(key) - 1):
        after = slice(part.start + 1, part.stop + 1)
        np.not_equal(key[part] >> 1, key[after] >> 1, out=last[part])
    once = key[last]  # [n]
    days = pl.DataFrame(
        {
            "ix": (once >> 1 + SPAN_BITS).astype(np.int32),
            "day": (once >> 1 & SPAN - 1) + low,
            "active": (once & 1).astype(np.int8),
        }
    )
    return users, days, None if log.named else places


def _by_number(frame: pl.DataFrame, places: Int) -> pl.DataFrame:
    return frame.select(
        pl.all().exclude("user_id"), ix=pl.Series(places[frame["user_id"].to_numpy()])
    )


def placed(frame: pl.DataFrame, users: pl.Series) -> pl.DataFrame:
    """Return the frame with ``ix``, the place among the users [U], in place of ``user_id``."""
    places = (
        users.to_frame("user_id").with_row_index("ix").with_columns(pl.col("ix").cast(pl.Int32))
    )
    return frame.join(places, on="user_id", how="left", maintain_order="left").drop("user_id")


def table_of(rows: pl.DataFrame, starts: Long) -> DayTable:
    """Return rows of ``day_frame``, sorted by user and day, as arrays. ``starts`` [U + 1]."""
    predictions: dict[str, Any] = {}
    if "p_alive" in rows.columns:
        predictions = {
            "value_high": rows["value_high"].fill_null(value=False).to_numpy(),
            "p_low": rows["p_low"].fill_null(value=False).to_numpy(),
            "p_alive": rows["p_alive"].fill_null(np.nan).to_numpy(),
        }
    return DayTable(
        rows["day"].to_numpy().astype(np.int64),
        starts,
        active=rows["active"].to_numpy(),
        joined=rows["joined"].to_numpy(),
        keys=rows["keys"].to_numpy(),
        d_orders=rows["d_orders"].to_numpy(),
        ended=rows["ended"].to_numpy(),
        **predictions,
    )


def with_predicted(table: pl.DataFrame, known: pl.DataFrame, *, last_day: int) -> pl.DataFrame:
    """Return ``day_frame`` rows with what was predicted (``predictions.predicted``) put in.

    A prediction is a day of its own on which nothing else happens, and holds until the next. One
    from before the user was first seen holds from then on.
    """
    first = table.group_by("user_id").agg(_first=pl.col("day").min())
    known = known.with_columns(pl.col("day").cast(DAY_SCHEMA["day"]))
    known = known.join(first, on="user_id", how="inner")
    known = known.filter(pl.col("day") <= last_day).sort("user_id", "day")
    known = known.with_columns(day=pl.max_horizontal("day", "_first"))
    known = known.unique(["user_id", "day"], keep="last", maintain_order=True).drop("_first")
    both = table.join(known, on=["user_id", "day"], how="full", coalesce=True)
    filled = both.with_columns(
        pl.col("active", "joined", "ended").fill_null(value=False),
        pl.col("keys", "d_orders").fill_null(0),
    ).sort("user_id", "day")
    return filled.with_columns(pl.col(COLUMNS).forward_fill().over("user_id"))


def _rare(d: StageDefinitions) -> dict[str, tuple[str, ...]]:
    return dict(zip(RARE, (d.joins, d.activates, d.ends), strict=True))


def _times(log: Log, types: tuple[str, ...], name: str) -> Lazy:
    events = distinct(log.of(types), log.columns)
    return events.group_by("user_id", "day").agg(nw.len().alias(name))
