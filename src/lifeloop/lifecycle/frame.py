"""What every lifecycle function does first with an event frame of any engine.

The frame is checked for its columns, bots and events without a time are left out, only what
happened before ``as_of`` is kept, and each event gets its local ``day`` (see ``calendar``).
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any, Protocol, runtime_checkable

import narwhals as nw
import polars as pl
from narwhals.typing import IntoFrame

from lifeloop.errors import InputError
from lifeloop.lifecycle.calendar import check_zone, day_expr, day_of, end_of_day_us, micros
from lifeloop.lifecycle.user_numbers import Names, numbered

Lazy = nw.LazyFrame[Any]

PASSIVE = frozenset({"impression", "message_sent", "message_delivered", "refund"})
"""Event types that are not the user being active, unless a scenario says otherwise."""

KIN = frozenset({"referrer_id"})
"""Columns that name users, besides ``user_id``."""

FEW_TYPES = 6
"""Up to this many comparisons of a type are faster than looking it up in a set."""

EARLIEST_US, LATEST_US = -50_000_000_000_000_000, 250_000_000_000_000_000
"""Event times outside (about the years 385 and 9892) are in another unit, and refused."""


@runtime_checkable
class Prepared(Protocol):
    """A log that comes as days already (``daily.Daily``)."""

    def as_log(self, *, zone: str, as_of: datetime | int | None, filtered: bool) -> "Log":
        """Return it as a log with ``user_id``, ``day`` and ``active``."""
        ...

    def standing(self, last_day: int) -> Any:
        """Return where everybody stood up to a day (``standing.Standing``)."""
        ...

    @property
    def definitions(self) -> Any:
        """What the stages mean in it (``definitions.StageDefinitions``)."""
        ...


Events = IntoFrame | Prepared
"""What every function takes: an event frame of any engine, or a daily state."""


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """The table that a log was read from, and all that decided what was kept of it."""

    events: pl.DataFrame
    zone: str
    as_of_us: int
    include_bots: bool

    @property
    def key(self) -> tuple[str, int, bool]:
        """All but the table, as a value."""
        return self.zone, self.as_of_us, self.include_bots


@dataclass(frozen=True, slots=True)
class Log:
    """A readable event log: ``frame`` (lazy) has the caller's columns and ``day``.

    ``lo_us``, ``hi_us`` bound the event times kept; both are None when nothing is left.
    ``prepared`` is what the log was made from when that was not events, ``undated`` the rows
    before they had a ``day``. ``origin`` is the whole table that was read, where nothing but
    ``as_of`` and bots was left out of it: two logs of one origin hold the same (``shared``).
    ``names`` tells who the users are where they are numbers (``user_numbers``).
    """

    frame: Lazy
    columns: frozenset[str]
    zone: str
    as_of_us: int
    lo_us: int | None
    hi_us: int | None
    prepared: "Prepared | None" = None
    undated: Lazy | None = None
    origin: "Origin | None" = None
    names: Names | None = None

    def of(self, types: Collection[str]) -> Lazy:
        """Return the events of these types.

        Their day is computed after they are picked: two questions about different types would
        otherwise share the days of all events.
        """
        if self.undated is None or self.lo_us is None or self.hi_us is None:
            return self.frame.filter(of_types(types))
        day = day_expr("t_us", zone=self.zone, lo_us=self.lo_us, hi_us=self.hi_us)
        return self.undated.filter(of_types(types)).with_columns(day=day)

    def having(self, frame: Lazy) -> "Log":
        """Return the log with other rows or columns."""
        return replace(self, frame=frame, undated=None, origin=None)

    @property
    def named(self) -> bool:
        """Whether ``user_id`` is what the caller calls the users."""
        return self.names is None

    @property
    def first_day(self) -> int | None:
        """Local day on which the log starts, None when empty."""
        return None if self.lo_us is None else day_of(self.lo_us, self.zone)

    @property
    def last_day(self) -> int:
        """Local day of the last instant before ``as_of``."""
        return day_of(self.as_of_us - 1, self.zone)


def read(
    events: Events,
    *,
    zone: str = "UTC",
    as_of: datetime | int | None = None,
    needs: Collection[str] = (),
    where: nw.Expr | None = None,
    include_bots: bool = False,
    named: bool = True,
) -> Log:
    """Return the log that the lifecycle may see.

    Parameters
    ----------
    events : frame
        Polars, DuckDB, Spark … with ``user_id`` (string), ``t_us`` (int64, UTC) and ``type``.
    zone : str
        IANA zone of days.
    as_of : datetime or int (µs), optional
        Only events strictly before it; default: the end of the last local day with events.
    needs : collection of str
        Further columns that must be there.
    where : narwhals.Expr, optional
        Only these events.
    include_bots : bool
        Keep events whose ``is_bot`` is true.
    named : bool
        False: nobody will ask who the users are, so that in a Polars table, read without
        ``where``, ``user_id`` (and ``referrer_id``) may be numbers, the same for the same user.

    Raises
    ------
    InputError
        Missing or ill-typed columns (all of them at once), unknown zone, naive ``as_of``, times
        in another unit than microseconds.
    """
    check_zone(zone)
    if isinstance(events, Prepared):
        filtered = include_bots or where is not None or bool(needs)
        return events.as_log(zone=zone, as_of=as_of, filtered=filtered)
    columns = _checked(nw.from_native(events).lazy(), needs)
    table, names = events, None
    if not named and where is None and isinstance(events, pl.DataFrame):
        table, names = numbered(events, also=KIN & {*needs})
    lazy = nw.from_native(table).lazy()
    kept = _real(events, lazy, bots="is_bot" not in columns or include_bots)
    if where is not None:
        kept = kept.filter(where)
    as_of_us = micros(as_of) if isinstance(as_of, datetime) else as_of
    if as_of_us is not None:
        kept = kept.filter(nw.col("t_us") < as_of_us)
    lo_us, hi_us = collect(kept.select(lo=nw.col("t_us").min(), hi=nw.col("t_us").max())).row(0)
    if lo_us is not None and (lo_us < EARLIEST_US or hi_us > LATEST_US):
        raise InputError(
            "event times are outside the calendar",
            got=(lo_us, hi_us),
            allowed="t_us in microseconds since 1970-01-01 UTC",
            hint="nanoseconds must be divided first",
        )
    if as_of_us is None:
        as_of_us = 1 if hi_us is None else end_of_day_us(day_of(hi_us, zone), zone)
    day = nw.col("t_us") if lo_us is None else day_expr("t_us", zone=zone, lo_us=lo_us, hi_us=hi_us)
    origin = None
    if where is None and isinstance(events, pl.DataFrame):
        origin = Origin(events, zone, as_of_us, include_bots)
    frame = kept.with_columns(day=day)
    return Log(frame, columns, zone, as_of_us, lo_us, hi_us, None, kept, origin, names=names)


def _real(events: IntoFrame, lazy: Lazy, *, bots: bool) -> Lazy:
    # Events of somebody, at some time, and of people only. A Polars table knows at once where it
    # holds no null and no bot: a filter that keeps everything is left out.
    table = events if isinstance(events, pl.DataFrame) else None
    for name in ("t_us", "user_id"):
        if table is None or table[name].null_count():
            lazy = lazy.filter(~nw.col(name).is_null())
    if not bots and (table is None or table["is_bot"].dtype != pl.Boolean or table["is_bot"].any()):
        lazy = lazy.filter(~nw.col("is_bot").fill_null(value=False))
    return lazy


def of_types(types: Collection[str]) -> nw.Expr:
    """Return whether an event is of one of the types."""
    kinds = sorted(set(types))
    if not kinds or len(kinds) > FEW_TYPES:
        return nw.col("type").is_in(kinds)
    return reduce(or_, [nw.col("type") == kind for kind in kinds])


def collect(frame: Lazy) -> pl.DataFrame:
    """Return the frame's rows as a Polars table, from whichever engine holds it.

    Engines disagree on the width of counts and sums: every integer comes back as Int64.
    """
    table: pl.DataFrame = frame.collect("polars").to_native()
    wide = {
        name: pl.String if kind == pl.Categorical else pl.Int64
        for name, kind in table.schema.items()
        if kind == pl.Categorical or ((kind.is_integer() or kind.is_decimal()) and kind != pl.Int64)
    }
    return table.cast(wide) if wide else table  # type: ignore[arg-type]


def kept(frame: Lazy) -> Lazy:
    """Return a frame that several questions are asked of, computed once where that costs little.

    On Polars it is computed here and now; another engine keeps it as a query of its own.
    """
    return frame.collect("polars").lazy() if frame.implementation.is_polars() else frame


def distinct(frame: Lazy, columns: frozenset[str]) -> Lazy:
    """Return the events once each, by ``event_id`` where they have one.

    A store never hands out an event twice; a raw file may. Who was active on which day is the
    same either way, so only what counts events or adds money asks for this.
    """
    if "event_id" not in columns:
        return frame
    named = frame.filter(~nw.col("event_id").is_null()).unique("event_id", keep="any")
    return nw.concat([named, frame.filter(nw.col("event_id").is_null())])


def _checked(frame: Lazy, needs: Collection[str]) -> frozenset[str]:
    schema = frame.collect_schema()
    wanted = {"user_id": (nw.String, nw.Categorical), "t_us": (nw.Int64,), "type": (nw.String,)}
    problems = [f"column {name!r} is missing" for name in [*wanted, *needs] if name not in schema]
    for name, kinds in wanted.items():
        if name in schema and schema[name] not in kinds:
            problems.append(f"column {name!r} is {schema[name]}, not {kinds[0].__name__}")
    if problems:
        raise InputError(
            "the event frame cannot be used: " + "; ".join(problems),
            got=sorted(schema),
            hint="see lifeloop.lifecycle for the columns it reads",
        )
    return frozenset(schema)
