"""Times of every kind to int64 microseconds UTC, and the event time of the specification.

A value is read by itself, never by its neighbours, so that the order and the batches of a file
do not change what it means:

- a number is an epoch in seconds, milliseconds, microseconds or nanoseconds by its size
  (below 1e11, 1e14, 1e17); 8 digits that look like ``20170101`` are a date, 14 a date and time;
- a text is ISO 8601 or close to it (``2022-06-24 21:20:11``, ``2017/1/5``, ``2017年11月24日``,
  ``24 Nov 2017``), full-width digits too; ``03/04/2017`` is refused unless a format is given;
- a time without a zone is local time of the given zone. One that occurs twice (clocks set
  back) is the first; one that does not occur (clocks set forward) is read with the offset
  before the change, as PEP 495 does with fold=0;
- years outside 1970 to 2100 are refused: epochs are positive, and a later year is a wrong unit,
  which event_time = min(occurred, received) would otherwise turn into "now".
"""

import math
import re
import unicodedata
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from lifeloop.errors import InputError
from lifeloop.events.problems import refusal

SLOW_REQUEST_US = 60_000_000
FUTURE_US = 300_000_000
LATEST_US = 4_133_980_800_000_000  # 2101-01-01

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCK = r"(?:[T ]\s*(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:[.,](\d{1,9}))?)?)?"
# Go and Java write an abbreviation after the offset, which says it all: "+0000 UTC".
_ZONE = r"\s*(Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?(?:\s+[A-Z]{3,5})?)?$"
_ISO = re.compile(r"^(\d{4})([-/.])(\d{1,2})\2(\d{1,2})" + _CLOCK + _ZONE, re.I)
_COMPACT = re.compile(r"^(\d{4})(\d{2})(\d{2})T?(?:(\d{2})(\d{2})(?:(\d{2})()?)?)?" + _ZONE, re.I)
_DAY_MONTH = re.compile(
    r"^(?:[a-z]{3,9},?\s+)?(\d{1,2})[- ]([a-z]{3,9})[- ,]+(\d{4})" + _CLOCK + _ZONE, re.I
)
_MONTH_DAY = re.compile(
    r"^(?:[a-z]{3,9},?\s+)?([a-z]{3,9})\.?\s+(\d{1,2}),?\s+(\d{4})" + _CLOCK + _ZONE, re.I
)
_AMBIGUOUS = re.compile(r"^\d{1,2}([-/. ])\d{1,2}[-/., ]+(\d{2}|\d{4})\b")
_NUMBER = re.compile(r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CHINESE = str.maketrans(dict(zip("年月日号时点分", "--  :::", strict=True)))
_ABSENT = ("", "NA", "N/A", "NULL", "null", "None", "\\N", "NaT")
_PLAIN = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:[0-5]\d(?:\.\d{1,6})?$"
_ZONED = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-]\d{2}:?\d{2})$"


def parse_time(value: Any, *, zone: str = "UTC", format: str | None = None) -> int:
    """Return one time as microseconds UTC.

    Parameters
    ----------
    value : int, float, str, datetime or date
    zone : str
        IANA zone of times that carry none.
    format : str, optional
        ``strptime`` format of texts.

    Raises
    ------
    InputError
        Its ``reason`` is ``bad_time`` or ``ambiguous_time``.

    Examples
    --------
    >>> parse_time("2022-06-24 21:20:11", zone="Asia/Shanghai")
    1656076811000000
    >>> parse_time(1511544070) == parse_time("1511544070.0") == parse_time(1511544070000)
    True
    """
    found = _time_of(value, _zone(zone), format)
    if isinstance(found, int):
        return found
    raise refusal(
        InputError(
            "a time cannot be read",
            got=value,
            allowed="an epoch number or ISO 8601, in the years 1970 to 2100",
            hint="--map occurred_at.format=%d/%m/%Y names another format"
            if found == "ambiguous_time"
            else None,
        ),
        found,
    )


def parse_times(
    values: pl.Series, *, zone: str = "UTC", format: str | None = None
) -> tuple[pl.Series, pl.Series]:
    """Return times as int64 microseconds UTC, and why some cannot be read.

    Parameters
    ----------
    values : Series [n]
        Text, numbers or temporal values; null and empty stay null without a reason.
    zone, format : see ``parse_time``; the answers are the same, only faster.

    Returns
    -------
    (Series[Int64] [n], Series[String] [n])
        Times, and ``bad_time`` | ``ambiguous_time`` | null.
    """
    local = _zone(zone)
    if values.dtype.is_decimal():
        values = values.cast(pl.String)
    if values.dtype in (pl.String, pl.Categorical) or values.dtype == pl.Enum:
        text = values.cast(pl.String).str.strip_chars()
        text = pl.select(pl.when(text.is_in(_ABSENT)).then(None).otherwise(text)).to_series()
        given = text.is_not_null()
        found = _of_text(text, local, format)
    elif values.dtype.is_temporal():
        given = values.is_not_null()
        found = _of_temporal(values, local), None
    elif values.dtype.is_numeric():
        given = values.is_not_null()
        found = _of_numbers(values, local), None
    else:
        given = values.is_not_null()
        found = _one_by_one(values, local, format)
    us, why = found
    us = _plausible(us)
    broken = given & us.is_null()
    reasons = why if why is not None else pl.Series([None] * len(values), dtype=pl.String)
    told = pl.select(
        pl.when(broken).then(pl.coalesce(reasons, pl.lit("bad_time"))).otherwise(None)
    ).to_series()
    return us.alias(values.name), told


def event_times(frame: pl.DataFrame, *, received_us: int) -> pl.DataFrame:
    """Add ``t_us``, the event time (spec/lifecycle.md section 1), and ``flag``.

    occurred' = occurred + (received - sent) where sent is given and |received - sent| >= 60 s;
    t = min(occurred', received); ``flag`` is ``future`` where occurred' - received > 5 min.
    An event without a time keeps null.

    Parameters
    ----------
    frame : DataFrame
        With ``occurred_us`` and ``sent_us``.
    received_us : int
        The moment of arrival, microseconds UTC.
    """
    late = received_us - pl.col("sent_us")
    slow = late.abs() >= SLOW_REQUEST_US
    occurred = pl.col("occurred_us") + pl.when(slow).then(late).otherwise(0)
    future = occurred - received_us > FUTURE_US
    return frame.with_columns(
        pl.when(occurred.is_not_null())
        .then(pl.min_horizontal(occurred, pl.lit(received_us, dtype=pl.Int64)))
        .otherwise(None)
        .alias("t_us"),
        pl.when(future).then(pl.lit("future")).otherwise(None).cast(pl.String).alias("flag"),
    )


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InputError(
            "unknown time zone", got=name, allowed="an IANA name such as Europe/Berlin"
        ) from None


# ---------------------------------------------------------------- one value


def _time_of(value: Any, zone: ZoneInfo, format: str | None) -> int | str:
    found: int | str
    if isinstance(value, bool):
        return "bad_time"
    if isinstance(value, int | float):
        found = _of_number(value, zone)
    elif isinstance(value, datetime):
        found = _us(value, zone)
    elif isinstance(value, date):
        found = _us(datetime.combine(value, time()), zone)
    elif isinstance(value, str):
        found = _of_one_text(value, zone, format)
    else:
        return "bad_time"
    if isinstance(found, int) and not 0 <= found < LATEST_US:
        return "bad_time"
    return found


def _of_number(value: float, zone: ZoneInfo) -> int | str:
    if isinstance(value, float):
        if not math.isfinite(value):
            return "bad_time"
        if not value.is_integer():
            for bound, factor in ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0)):
                if abs(value) < bound:
                    return round(value * factor)
            return "bad_time"
        value = int(value)
    if 19_000_000 <= value < 22_000_000 or 19_000_000_000_000 <= value < 22_000_000_000_000:
        return _of_one_text(str(value), zone, None)
    for limit, factor in ((10**11, 1_000_000), (10**14, 1_000), (10**17, 1)):
        if abs(value) < limit:
            return value * factor
    return value // 1_000


def _of_one_text(text: str, zone: ZoneInfo, format: str | None) -> int | str:
    text = text.strip()
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_CHINESE).replace("秒", "")
        text = re.sub(r"\s+", " ", text).strip().rstrip(":").strip()
    if format is not None:
        try:
            return _us(datetime.strptime(text, format), zone)  # noqa: DTZ007 - _us gives the zone
        except ValueError:
            return "bad_time"
    if match := _COMPACT.match(text):
        year, month, day, hour, minute, second, _, offset = match.groups()
        if len(text) != 10 and (1900 <= int(year) < 2200):
            return _built((year, month, day), (hour, minute, second, None), offset, zone)
    if _NUMBER.match(text):
        return _of_number(int(text) if text.lstrip("+-").isdecimal() else float(text), zone)
    if match := _ISO.match(text):
        year, _, month, day, *clock, offset = match.groups()
        return _built((year, month, day), clock, offset, zone)
    for pattern, order in ((_DAY_MONTH, (2, 1, 0)), (_MONTH_DAY, (2, 0, 1))):
        if match := pattern.match(text):
            parts = match.groups()
            name = parts[order[1]][:3].lower()
            if name not in _MONTHS:
                return "bad_time"
            named = (parts[order[0]], str(_MONTHS.index(name) + 1), parts[order[2]])
            return _built(named, parts[3:7], parts[7], zone)
    return "ambiguous_time" if _AMBIGUOUS.match(text) else "bad_time"


def _built(day: Any, clock: Any, offset: str | None, zone: ZoneInfo) -> int | str:
    hour, minute, second, fraction = clock
    leap = timedelta(seconds=1) if second == "60" else timedelta(0)
    try:
        moment = datetime(  # noqa: DTZ001 - the zone comes with _us
            int(day[0]),
            int(day[1]),
            int(day[2]),
            int(hour or 0),
            int(minute or 0),
            59 if leap else int(second or 0),
            int((fraction or "0")[:6].ljust(6, "0")),
        )
        moment += leap
    except (ValueError, OverflowError):
        return "bad_time"
    if offset is None:
        return _us(moment, zone)
    if offset.upper() in ("Z", "UTC", "GMT"):
        return _us(moment.replace(tzinfo=UTC), zone)
    digits = offset.split()[0][1:].replace(":", "").ljust(4, "0")
    if int(digits[:2]) > 23 or int(digits[2:]) > 59:
        return "bad_time"
    shift = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return _us(moment.replace(tzinfo=timezone(-shift if offset[0] == "-" else shift)), zone)


def _us(moment: datetime, zone: ZoneInfo) -> int:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
    return (aware.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


# ---------------------------------------------------------------- whole columns


def _of_text(
    text: pl.Series, zone: ZoneInfo, format: str | None
) -> tuple[pl.Series, pl.Series | None]:
    if format is not None:
        return _one_by_one(text, zone, format)
    if (whole := text.cast(pl.Int64, strict=False)).null_count() == text.null_count():
        return _of_numbers(whole, zone), None
    plain = text.str.contains(_PLAIN).fill_null(False)
    zoned = text.str.contains(_ZONED).fill_null(False)
    tidy = text.str.replace("T", " ", literal=True)
    us = pl.Series([None] * len(text), dtype=pl.Int64)
    if plain.any():
        naive = _only(tidy, plain).str.to_datetime(
            "%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False
        )
        us = _first(us, _localised(naive, zone))
    if zoned.any():
        aware = _only(tidy, zoned).str.replace("Z", "+00:00", literal=True)
        parsed = aware.str.to_datetime(
            "%Y-%m-%d %H:%M:%S%.f%z", time_unit="us", time_zone="UTC", strict=False
        )
        us = _first(us, parsed.to_physical())
    rest = text.is_not_null() & us.is_null()
    if not rest.any():
        return us, None
    slow, why = _one_by_one(_only(text, rest), zone, None)
    return _first(us, slow), why


def _of_temporal(values: pl.Series, zone: ZoneInfo) -> pl.Series:
    if values.dtype == pl.Date:
        values = values.cast(pl.Datetime("us"))
    if not isinstance(values.dtype, pl.Datetime):
        return pl.Series([None] * len(values), dtype=pl.Int64)
    aware = values.dtype.time_zone is not None
    values = values.dt.cast_time_unit("us")
    return values.to_physical() if aware else _localised(values, zone)


def _of_numbers(values: pl.Series, zone: ZoneInfo) -> pl.Series:
    """Epochs by their size; the few that look like dates go one by one."""
    if values.dtype.is_float():
        number = values.cast(pl.Float64)
        whole = number.is_finite() & (number == number.round(0)) & (number.abs() < 9e18)
        ints = _only(number, whole).cast(pl.Int64, strict=False)
        parts = _only(number, number.is_finite() & ~whole)
        size = parts.abs()
        scaled = pl.select(
            pl.when(size < 1e11)
            .then(parts * 1e6)
            .when(size < 1e14)
            .then(parts * 1e3)
            .when(size < 1e17)
            .then(parts)
        ).to_series()
        return _first(_of_numbers(ints, zone), scaled.round(0).cast(pl.Int64, strict=False))
    x = values.cast(pl.Int64, strict=False)
    size = x.abs()
    us = pl.select(
        pl.when(size < 10**11)
        .then(x * 1_000_000)
        .when(size < 10**14)
        .then(x * 1_000)
        .when(size < 10**17)
        .then(x)
        .otherwise(x // 1_000)
    ).to_series()
    dates = (x.is_between(19_000_000, 21_999_999)) | (
        x.is_between(19_000_000_000_000, 21_999_999_999_999)
    )
    if not dates.any():
        return us
    named, _ = _one_by_one(_only(x, dates), zone, None)
    return pl.select(pl.when(dates).then(named).otherwise(us)).to_series()


FAR_YEAR, LAST_YEAR = 2100, 2101  # the last moments of 2100 are in 2101 somewhere


def _localised(naive: pl.Series, zone: ZoneInfo) -> pl.Series:
    if zone.key == "UTC":
        return naive.to_physical()
    us = naive.dt.replace_time_zone(zone.key, ambiguous="earliest", non_existent="null")
    # Polars knows the changes of a zone up to 2099 only; zoneinfo goes on by the zone's rule
    far = naive.dt.year().is_between(FAR_YEAR, LAST_YEAR).fill_null(False)
    gaps = naive.is_not_null() & (us.is_null() | far)
    found = _only(us.to_physical(), ~far)
    if not gaps.any():
        return found
    return _first(found, _one_by_one(_only(naive, gaps), zone, None)[0])


def _one_by_one(
    values: pl.Series, zone: ZoneInfo, format: str | None
) -> tuple[pl.Series, pl.Series]:
    known: dict[Any, int | str | None] = {None: None}
    us: list[int | None] = []
    why: list[str | None] = []
    for value in values.to_list():
        try:
            found = known[value]
        except KeyError:
            found = known[value] = _time_of(value, zone, format)
        except TypeError:  # lists and structs are no times
            found = "bad_time"
        us.append(found if isinstance(found, int) else None)
        why.append(found if isinstance(found, str) else None)
    return pl.Series(us, dtype=pl.Int64), pl.Series(why, dtype=pl.String)


def _plausible(us: pl.Series) -> pl.Series:
    return pl.select(pl.when(us.is_between(0, LATEST_US - 1)).then(us)).to_series()


def _only(values: pl.Series, mask: pl.Series) -> pl.Series:
    return pl.select(pl.when(mask).then(values)).to_series()


def _first(left: pl.Series, right: pl.Series) -> pl.Series:
    return pl.select(pl.coalesce(left, right)).to_series()
