"""The parameters that mean the same in every lifecycle function, and what follows from them."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, TypedDict

import narwhals as nw
import polars as pl
from narwhals.typing import IntoFrame

from lifeloop.config import Weekday
from lifeloop.contracts import Long
from lifeloop.errors import InputError
from lifeloop.lifecycle.calendar import (
    Grain,
    check_grain,
    date_of,
    end_of_day_us,
    first_day,
    number_of,
    period_of,
    periods_of,
    with_period,
)
from lifeloop.lifecycle.frame import PASSIVE, Events, Lazy, Log, collect, of_types, read
from lifeloop.lifecycle.segments import segmented

HOUR_US = 3_600_000_000

MOST_CELLS = 20_000_000
"""A table of cohorts by age with more cells than this is refused: nobody reads it."""

_COHORT = {"cohort": pl.Int64}

SMALL_CELL = 30
"""Cells of fewer users are marked ``small``: their rates say little."""


class Options(TypedDict, total=False):
    """Keyword options of every lifecycle function.

    zone : str, default "UTC"
        IANA zone of days, weeks and months.
    week_start : str, default "monday"
        First day of the week.
    grain : "day" | "week" | "month", default "day"
        Length of a period.
    start, end : date
        First and last day shown, inclusive; the periods that contain them are shown whole.
        Default: from the log's first day to the day of ``as_of``. The log before ``start`` is
        still read: nobody is new because a window begins.
    as_of : datetime (aware) or int (µs)
        Only events strictly before it exist. Default: the end of the last day with events.
    by : str or sequence of str
        Columns of ``events`` or ``users`` to split by. A user has one value: the one in
        ``users``, else the one on the user's first event that has any, else "(none)". A column of
        ``items`` is the value of the first item that the user took (``item_types``).
    users : frame
        One row per ``user_id`` with attributes for ``by`` (and ``created_us``).
    items : frame
        One row per ``item_id`` with attributes for ``by``, such as the category.
    item_types : collection of str, default ("purchase",)
        Event types whose first item places a user: the first purchase's category.
    where : narwhals.Expr
        Only these events, e.g. ``nw.col("channel") == "web"``.
    passive : collection of str
        Event types that are not activity.
    lateness_hours : float, default 72
        A period is complete once its end + this is at or before ``as_of``; else ``partial``.
    burn_in_days : int, default 0
        Users first seen this soon after the log's first day are existing: never new, in no
        cohort. Scenarios say 28.
    log_start : date, optional
        Day on which the log starts; default: the day of its first event. Say it where ``where``
        leaves out the beginning.
    include_bots : bool, default False
        Count events whose ``is_bot`` is true.
    """

    zone: str
    week_start: Weekday
    grain: Grain
    start: date | None
    end: date | None
    as_of: datetime | int | None
    by: str | Sequence[str]
    users: IntoFrame | None
    items: IntoFrame | None
    item_types: Collection[str]
    where: nw.Expr | None
    passive: Collection[str]
    lateness_hours: float
    burn_in_days: int
    log_start: date | None
    include_bots: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """``Options`` with their defaults."""

    zone: str = "UTC"
    week_start: Weekday = "monday"
    grain: Grain = "day"
    start: date | None = None
    end: date | None = None
    as_of: datetime | int | None = None
    by: str | Sequence[str] = ()
    users: IntoFrame | None = None
    items: IntoFrame | None = None
    item_types: Collection[str] = ("purchase",)
    where: nw.Expr | None = None
    passive: Collection[str] = PASSIVE
    lateness_hours: float = 72.0
    burn_in_days: int = 0
    log_start: date | None = None
    include_bots: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """An opened log with its window: everything a metric needs besides its own parameters."""

    log: Log
    settings: Settings
    by: tuple[str, ...]
    first: int
    last: int

    @property
    def empty(self) -> bool:
        """Whether there is no period to show."""
        return self.last < self.first

    def active(self) -> Lazy:
        """Return the events that are the user being active."""
        if self.log.prepared is not None:
            return self.log.frame.filter(nw.col("active"))
        passive = sorted(self.settings.passive)
        return self.log.frame.filter(~of_types(passive)) if passive else self.log.frame

    def user_days(self) -> Lazy:
        """Return one row per user and active day: user_id, the ``by`` columns, day."""
        return self.active().group_by("user_id", *self.by, "day").agg()

    def user_periods(self) -> Lazy:
        """Return one row per user and period: user_id, ``by``, period."""
        days = self.active().select("user_id", *self.by, "day")
        return self.with_period(days).group_by("user_id", *self.by, "period").agg()

    def known_periods(self) -> Lazy:
        """Return ``user_periods`` with ``burnt``: whether the first day in it is in the burn-in.

        Straight from the events, in one grouping: days are only looked at where the burn-in ends
        in the middle of a period.
        """
        edge = self.period_of(self.first_new_day)
        if self.first_day(edge) == self.first_new_day:
            return self.user_periods().with_columns(burnt=nw.col("period") < edge)
        days = self.with_period(self.active().select("user_id", *self.by, "day"))
        firsts = days.group_by("user_id", *self.by, "period").agg(day=nw.col("day").min())
        return firsts.with_columns(burnt=nw.col("day") < self.first_new_day).drop("day")

    def with_period(self, frame: Lazy, day: str = "day") -> Lazy:
        """Return the frame with ``period``, the index of the period of a day column."""
        s = self.settings
        return with_period(frame, day, grain=s.grain, week_start=s.week_start)

    def period_of(self, day: int) -> int:
        """Return the period index of a day."""
        return period_of(day, grain=self.settings.grain, week_start=self.settings.week_start)

    def periods_of(self, days: Long) -> Long:
        """Return the period index of each day number. [n] -> [n]."""
        s = self.settings
        return periods_of(days, grain=s.grain, week_start=s.week_start)

    def first_day(self, period: int) -> int:
        """Return the first day of a period."""
        return first_day(period, grain=self.settings.grain, week_start=self.settings.week_start)

    def last_day(self, period: int) -> int:
        """Return the last day of a period."""
        return self.first_day(period + 1) - 1

    def complete(self, day: int) -> bool:
        """Whether a day is over and late events have had their time."""
        limit = self.log.as_of_us - round(self.settings.lateness_hours * HOUR_US)
        return end_of_day_us(day, self.log.zone) <= limit

    @property
    def last_complete_day(self) -> int:
        """The newest complete day."""
        day = self.log.last_day
        while not self.complete(day):
            day -= 1
        return day

    @property
    def first_new_day(self) -> int:
        """The first day on which a user can be new: after the burn-in."""
        s = self.settings
        start = self.log.first_day if s.log_start is None else number_of(s.log_start)
        return (start or 0) + s.burn_in_days

    def periods(self) -> pl.DataFrame:
        """Return the periods shown: index ``ix``, first day ``period`` (date), ``partial``."""
        indices = list(range(self.first, self.last + 1))
        newest = self.last_complete_day
        return pl.DataFrame(
            {
                "ix": indices,
                "period": [date_of(self.first_day(p)) for p in indices],
                "partial": [self.last_day(p) > newest for p in indices],
            },
            schema={"ix": pl.Int64, "period": pl.Date, "partial": pl.Boolean},
        )

    def dates(self, periods: pl.Series) -> pl.Series:
        """Return the first day of each period index."""
        return mapped(periods, lambda p: date_of(self.first_day(p)), pl.Date).alias("dates")

    def incomplete(self, periods: pl.Series, *, further_days: int = 0) -> pl.Series:
        """Whether each period is not complete, or its log not ``further_days`` longer."""
        newest = self.last_complete_day - further_days
        late = mapped(periods, lambda p: self.last_day(p) > newest, pl.Boolean)
        return late.alias("partial")

    def triangle(self, segments: pl.DataFrame, *, reach: int | None = None) -> pl.DataFrame:
        """Return every cohort shown with every age that fits in the window.

        Columns: ``by``, cohort (period index), age. ``reach`` is the largest age.

        Raises
        ------
        InputError
            The triangle would have more than ``MOST_CELLS`` cells.
        """
        n = max(self.last - self.first + 1, 0)
        wide = n if reach is None else min(n, reach + 1)
        groups = segments.select(self.by).n_unique() if self.by else 1
        cells = (wide * (2 * n - wide + 1) // 2) * groups
        if cells > MOST_CELLS:
            raise InputError(
                f"the table of cohorts by age would have {cells:,} cells",
                got=f"{n:,} periods of a {self.settings.grain}",
                allowed=f"{MOST_CELLS:,} cells",
                hint='a longer grain ("week", "month"), a later start, or max_offset',
            )
        cohorts = pl.DataFrame({"cohort": range(self.first, self.last + 1)}, schema=_COHORT)
        if self.by:
            cohorts = segments.select(self.by).unique().join(cohorts, how="cross")
        ages = pl.lit(self.last) - pl.col("cohort")
        if reach is not None:
            ages = pl.min_horizontal(ages, pl.lit(reach))
        return cohorts.with_columns(age=pl.int_ranges(pl.lit(0), ages + 1)).explode("age")

    def grid(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Return ``periods`` for every segment found in ``cells``: ``by``, ix, period, partial."""
        if not self.by:
            return self.periods()
        segments = cells.select(self.by).unique().sort(self.by)
        return segments.join(self.periods(), how="cross")


def opened(
    events: Events, options: Options, *, needs: Collection[str] = (), named: bool = True
) -> View:
    """Return the log and window that the options describe.

    Without ``named`` users may be numbers (see ``read``), unless ``users`` has to be joined.

    Raises
    ------
    TypeError
        An option that does not exist.
    InputError
        See ``read``; also ``end`` before ``start``, an unknown grain, week start or ``by``.
    """
    known = {f.name for f in fields(Settings)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise TypeError(f"unknown options {unknown}; known are {sorted(known)}")
    s = Settings(**options)
    check_grain(s.grain, s.week_start)
    if s.start is not None and s.end is not None and s.end < s.start:
        raise InputError("end is before start", got=(str(s.start), str(s.end)))
    if not 0 <= s.lateness_hours < math.inf:
        raise InputError("lateness_hours is a wait", got=s.lateness_hours, allowed="0 or more")
    if s.burn_in_days < 0:
        raise InputError("burn_in_days is negative", got=s.burn_in_days, allowed="0 or more")
    by = (s.by,) if isinstance(s.by, str) else tuple(s.by)
    log = read(
        events,
        zone=s.zone,
        as_of=s.as_of,
        needs=needs,
        where=s.where,
        include_bots=s.include_bots,
        named=named or s.users is not None,
    )
    log = segmented(log, by, users=s.users, items=s.items, item_types=s.item_types)
    low = number_of(s.start) if s.start is not None else log.first_day
    high = number_of(s.end) if s.end is not None else log.last_day
    if low is None:  # no events and no start: nothing to show
        return View(log, s, by, 0, -1)
    span = {"grain": s.grain, "week_start": s.week_start}
    return View(log, s, by, _period(low, span), _period(high, span))


def segments(view: View) -> pl.DataFrame:
    """Return the segment of every user: user_id, ``by``."""
    return collect(view.log.frame.group_by("user_id", *view.by).agg())


def mapped(values: pl.Series, rule: Callable[[int], Any], kind: type[pl.DataType]) -> pl.Series:
    """Return the rule's answer for every integer, asked once for each distinct one. [n] -> [n]."""
    distinct = values.unique().sort()
    answers = pl.Series([rule(v) for v in distinct.to_list()], dtype=kind)
    return answers.gather(distinct.search_sorted(values))


def _period(day: int, span: dict[str, Any]) -> int:
    return period_of(day, **span)
