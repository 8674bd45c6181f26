"""Local days, weeks and months: the one place where an instant becomes a date.

A day is an integer, days since 1970-01-01 in the tenant's zone. It is found by adding the
zone's offset at that instant (from the IANA database, by ``zoneinfo``) and dividing: integer
arithmetic that every engine computes alike, whatever zone tables it ships. From there on all
date arithmetic is on integers; nothing ever adds 24 hours.
"""

import difflib
import zoneinfo
from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, get_args

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from lifeloop.config import Weekday
from lifeloop.errors import InputError

Grain = Literal["day", "week", "month"]

DAY_US = 86_400_000_000
EPOCH = date(1970, 1, 1)
_ZERO = datetime(1970, 1, 1, tzinfo=UTC)
_MIN_US = -62_135_596_800_000_000  # year 1; datetime cannot go further
_MAX_US = 253_402_300_799_999_999  # year 9999


def check_zone(zone: str) -> zoneinfo.ZoneInfo:
    """Return the IANA zone, or refuse with the nearest name."""
    if not isinstance(zone, str) or zone not in _zones():
        close = difflib.get_close_matches(str(zone), _zones(), n=1)
        raise InputError(
            "unknown time zone",
            got=zone,
            allowed="an IANA name such as 'UTC' or 'Asia/Shanghai'",
            hint=f"did you mean {close[0]!r}?" if close else None,
        )
    return zoneinfo.ZoneInfo(zone)


def day_of(t_us: int, zone: str) -> int:
    """Return the local day number of one instant."""
    moments, offsets = offset_steps(zone, t_us, t_us)
    return (t_us + offsets[bisect_right(moments, t_us)]) // DAY_US


def days_of(t_us: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """Return the local day number of each instant. [n] -> [n]."""
    if not len(t_us):
        return np.zeros(0, dtype=np.int64)
    moments, offsets = offset_steps(zone, int(t_us.min()), int(t_us.max()))
    shift = np.asarray(offsets, dtype=np.int64)[np.searchsorted(moments, t_us, side="right")]
    return (t_us + shift) // DAY_US


def day_expr(column: str, *, zone: str, lo_us: int, hi_us: int) -> nw.Expr:
    """Return the local day number of an int64 microsecond column, on any engine.

    Parameters
    ----------
    column : str
        Name of the column with instants, UTC.
    zone : str
        IANA name.
    lo_us, hi_us : int
        Bounds of the values of the column: only the changes of offset between them are used.
    """
    moments, offsets = offset_steps(zone, lo_us, hi_us)
    t = nw.col(column)
    local = t + offsets[0]
    if moments:
        steps = [
            (t >= moment).cast(nw.Int64) * (after - before)
            for moment, before, after in zip(moments, offsets, offsets[1:], strict=False)
        ]
        local = nw.sum_horizontal(local, *steps)
    return local // DAY_US


def start_of_day_us(day: int, zone: str) -> int:
    """Return the first instant of a local day (its first existing minute where 00:00 is not)."""
    low, high = (day - 2) * DAY_US, (day + 2) * DAY_US
    while high - low > 1:
        middle = (low + high) // 2
        if day_of(middle, zone) >= day:
            high = middle
        else:
            low = middle
    return high


@lru_cache(maxsize=4096)
def end_of_day_us(day: int, zone: str) -> int:
    """Return the first instant after a local day."""
    return start_of_day_us(day + 1, zone)


def offset_steps(zone: str, lo_us: int, hi_us: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return when the zone's offset changes between two instants, and the offsets.

    Returns
    -------
    (moments, offsets)
        ``offsets[j]`` microseconds holds from ``moments[j - 1]`` (inclusive) to ``moments[j]``;
        there is one offset more than there are moments.
    """
    check_zone(zone)
    lo_us, hi_us = (min(max(t, _MIN_US), _MAX_US) for t in (lo_us, hi_us))
    moments: list[int] = []
    offsets = [_offset_us(zone, lo_us)]
    for year in range(_year(lo_us), _year(hi_us) + 1):
        for moment, offset in _changes_of_year(zone, year):
            if lo_us < moment <= hi_us:
                moments.append(moment)
                offsets.append(offset)
    return moments, offsets


@lru_cache(maxsize=4096)
def _changes_of_year(zone: str, year: int) -> tuple[tuple[int, int], ...]:
    begin = (datetime(year, 1, 1, tzinfo=UTC) - _ZERO) // timedelta(microseconds=1)
    found = []
    before = _offset_us(zone, begin - 1)
    for k in range(366 + 1):  # a zone changes at most once a day
        probe = begin + (k + 1) * DAY_US - 1
        if _year(probe) != year:
            break
        after = _offset_us(zone, probe)
        if after != before:
            low, high = probe - DAY_US, probe
            while high - low > 1:
                middle = (low + high) // 2
                if _offset_us(zone, middle) == before:
                    low = middle
                else:
                    high = middle
            found.append((high, after))
            before = after
    return tuple(found)


def _offset_us(zone: str, t_us: int) -> int:
    t_us = min(max(t_us, _MIN_US + DAY_US), _MAX_US - DAY_US)
    moment = _ZERO + timedelta(microseconds=t_us)
    shift = moment.astimezone(zoneinfo.ZoneInfo(zone)).utcoffset()
    return 0 if shift is None else shift // timedelta(microseconds=1)


def _year(t_us: int) -> int:
    return (_ZERO + timedelta(microseconds=t_us)).year


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def date_of(day: int) -> date:
    """Return the calendar date of a day number."""
    return EPOCH + timedelta(days=day)


def number_of(day: date) -> int:
    """Return the day number of a calendar date."""
    return (date(day.year, day.month, day.day) - EPOCH).days


def micros(moment: datetime) -> int:
    """Return an aware datetime as microseconds; a naive one is refused."""
    if moment.tzinfo is None:
        raise InputError(
            "as_of needs a time zone", got=moment, hint="datetime(..., tzinfo=datetime.UTC)"
        )
    return (moment - _ZERO) // timedelta(microseconds=1)


def with_period(
    frame: "nw.LazyFrame[Any]", day: str = "day", *, grain: Grain, week_start: Weekday = "monday"
) -> "nw.LazyFrame[Any]":
    """Return the frame with ``period``, the index of the period that a day column falls in.

    Indices are consecutive integers, on any engine the same as ``period_of``.
    """
    d = nw.col(day).cast(nw.Int64)
    if grain == "day":
        return frame.with_columns(period=d)
    if grain == "week":
        return frame.with_columns(period=(d + _week_shift(week_start)) // 7)
    # Howard Hinnant's days-to-civil, http://howardhinnant.github.io/date_algorithms.html, one
    # step a time: nested in one expression it would grow exponentially as SQL text.
    col = nw.col
    return (
        frame.with_columns(_z=d + 719_468)
        .with_columns(_era=col("_z") // 146_097)
        .with_columns(_doe=col("_z") - col("_era") * 146_097)
        .with_columns(
            _yoe=col("_doe") - col("_doe") // 1460 + col("_doe") // 36_524 - col("_doe") // 146_096
        )
        .with_columns(_yoe=col("_yoe") // 365)
        .with_columns(_doy=col("_doe") - 365 * col("_yoe") - col("_yoe") // 4 + col("_yoe") // 100)
        .with_columns(_month=(5 * col("_doy") + 2) // 153 + 2)  # 0 is January; March is 2
        .with_columns(period=(col("_yoe") + 400 * col("_era")) * 12 + col("_month"))
        .drop("_z", "_era", "_doe", "_yoe", "_doy", "_month")
    )


def period_of(day: int, *, grain: Grain, week_start: Weekday = "monday") -> int:
    """Return the index of the period of one day; the same numbers as ``with_period``."""
    if grain == "day":
        return day
    if grain == "week":
        return (day + _week_shift(week_start)) // 7
    moment = date_of(day)
    return moment.year * 12 + moment.month - 1


def periods_of(
    days: NDArray[np.int64], *, grain: Grain, week_start: Weekday = "monday"
) -> NDArray[np.int64]:
    """Return the index of the period of each day. [n] -> [n]."""
    if grain == "day":
        return days
    if grain == "week":
        return (days + _week_shift(week_start)) // 7
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return months + 1970 * 12


def first_day(period: int, *, grain: Grain, week_start: Weekday = "monday") -> int:
    """Return the first day number of a period index."""
    if grain == "day":
        return period
    if grain == "week":
        return period * 7 - _week_shift(week_start)
    return number_of(date(period // 12, period % 12 + 1, 1))


def check_grain(grain: str, week_start: str) -> None:
    """Refuse an unknown grain or week start."""
    if grain not in get_args(Grain):
        raise InputError("unknown grain", got=grain, allowed=", ".join(get_args(Grain)))
    if week_start not in get_args(Weekday):
        raise InputError("unknown week_start", got=week_start, allowed=", ".join(get_args(Weekday)))


def _week_shift(week_start: Weekday) -> int:
    # 1970-01-01 was a Thursday: with weeks from Monday it is day 3 of its week.
    return (3 - get_args(Weekday).index(week_start)) % 7
