"""The situation of an event or a request as words: hour and weekday where the person is, device,
place, channel, and whatever else the settings name.

What a context says of itself counts first (``hour``, ``weekday``); else both come from the moment
and the zone: the context's, the person's, the scenario's. A value that cannot be read is no value.
"""

import difflib
import json
import re
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import polars as pl

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
KEYS: Mapping[str, tuple[str, ...]] = {
    "hour": ("hour", "localhour"),
    "weekday": ("weekday", "dayofweek"),
    "device": ("device", "devicetype", "platform"),
    "place": ("place", "store", "storeid", "location", "city", "region", "country"),
    "channel": ("channel",),
}
"""Field -> the keys that hold it, best first; letters and digits only, in lower case."""
ZONES = ("zone", "timezone", "tz")
PREFIX = "situation."
LONGEST = 100
"""Characters of a value that are read."""
_SEEN = 2_000
_KEY = re.compile(r"[\w .:-]+")
"""Keys that a JSON path can name without being quoted; no other key is one of a situation."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Situation:
    """The value of each field that is known, and the keys of the context that gave it."""

    values: Mapping[str, str]
    keys: Mapping[str, tuple[str, ...]]


def situation_of(
    context: Mapping[str, Any], fields: Sequence[str], *, t_us: int, zone: str
) -> Situation:
    """Return the situation of one request.

    Parameters
    ----------
    context : mapping
        As the caller gave it.
    fields : sequence of str
        Which fields are wanted; others than those of ``KEYS`` are keys of the context.
    t_us : int
        The moment, microseconds UTC.
    zone : str
        IANA zone where the context names none (or none that exists).

    Examples
    --------
    >>> situation_of({"device": "Phone"}, ("device", "hour"), t_us=0, zone="UTC").values
    {'device': 'phone', 'hour': '0'}
    """
    plain: dict[str, list[str]] = {}
    for key in context:
        plain.setdefault(_plain(key), []).append(key)
    own = [key for name in ZONES for key in plain.get(name, ())]
    named = next((key for key in own if is_zone(context[key])), None)
    where = zone if named is None else str(context[named])
    values: dict[str, str] = {}
    keys: dict[str, tuple[str, ...]] = {}
    for field in fields:
        for key in (key for name in _names(field) for key in plain.get(name, ())):
            value = _value(field, context[key])
            if value is not None:
                values[field], keys[field] = value, (key,)
                break
        if field not in values and field in ("hour", "weekday"):
            at = (_EPOCH + timedelta(microseconds=t_us)).astimezone(_zone(where))
            values[field] = str(at.hour) if field == "hour" else WEEKDAYS[at.weekday()]
            keys[field] = () if named is None else (named,)
    return Situation(values, keys)


def situations(
    events: pl.DataFrame,
    fields: Sequence[str],
    *,
    zone: str,
    users: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return one column ``situation.<field>`` (String, null: unknown) per field [n].

    Parameters
    ----------
    events : polars.DataFrame
        ``user_id``, ``t_us`` (null: untimed), ``channel``, ``context`` (JSON).
    zone : str
        IANA zone of the scenario.
    users : polars.DataFrame, optional
        ``user_id`` and ``attributes`` (JSON), which may name a person's own zone.
    """
    context = events["context"]
    found = _paths(context)
    columns: dict[str, pl.Series] = {}
    for field in fields:
        told = [context.str.json_path_match(found[n]) for n in _names(field) if n in found]
        if field == "channel":
            told.insert(0, events["channel"])
        columns[field] = _read(field, told, events.height)
    if "hour" in columns or "weekday" in columns:
        told = [context.str.json_path_match(found[n]) for n in ZONES if n in found]
        zones = _zones(events["user_id"], told, users, default=zone)
        hour, weekday = _local(events["t_us"], zones)
        for field, made in (("hour", hour), ("weekday", weekday)):
            if field in columns:
                columns[field] = _first([columns[field], made], events.height)
    return pl.DataFrame({f"{PREFIX}{name}": column for name, column in columns.items()})


def zone_of(attributes: Mapping[str, Any]) -> str | None:
    """Return the zone that the attributes of a person name, None where they name none."""
    for key, value in attributes.items():
        if _plain(key) in ZONES and is_zone(value):
            return str(value)
    return None


def nearest_keys(unread: Iterable[str], known: Sequence[str]) -> dict[str, str]:
    """Return for keys that nothing reads the one that was probably meant.

    Examples
    --------
    >>> nearest_keys(["devise", "colour"], ["device", "query"])
    {'devise': 'device'}
    """
    told = {}
    for key in unread:
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        if close and close[0] != key:
            told[key] = close[0]
    return told


def is_zone(name: object) -> bool:
    """Return whether this is the name of a time zone."""
    return isinstance(name, str) and name in _all_zones()


def _names(field: str) -> tuple[str, ...]:
    return KEYS.get(field, (_plain(field),))


def _plain(key: object) -> str:
    return "".join(c for c in str(key).lower() if c.isalnum())


def _value(field: str, value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, str):
        return _word(field, value[:LONGEST])
    if not abs(value) <= 1e15:  # nor NaN
        return None
    return _word(field, str(int(value)) if float(value).is_integer() else str(value))


@lru_cache(maxsize=4096)
def _word(field: str, text: str) -> str | None:
    word = text.strip().casefold()
    if field == "hour":
        return str(int(word)) if word.isdecimal() and int(word) < 24 else None
    if field == "weekday":
        if word.isdecimal():  # ISO: 1 is Monday
            return WEEKDAYS[int(word) - 1] if 1 <= int(word) <= 7 else None
        long = [day for day in WEEKDAYS if len(word) >= 3 and day.startswith(word)]
        return long[0] if long else None
    return word or None


def _read(field: str, told: list[pl.Series], n: int) -> pl.Series:
    whole = _first(told, n)
    words = whole.drop_nulls().unique()
    read = {text: _word(field, text[:LONGEST].removesuffix(".0")) for text in words.to_list()}
    return whole.replace_strict(
        list(read), list(read.values()), default=None, return_dtype=pl.String
    )


def _first(told: list[pl.Series], n: int) -> pl.Series:
    whole = pl.Series([None], dtype=pl.String).new_from_index(0, n)
    for column in reversed(told):
        whole = column.zip_with(column.is_not_null(), whole)
    return whole


def _paths(context: pl.Series) -> dict[str, str]:
    """Return plain key -> JSON path of the keys seen in a sample of contexts."""
    some = context.drop_nulls()
    step = max(1, len(some) // _SEEN)
    found: dict[str, str] = {}
    for text in some.gather_every(step).unique(maintain_order=True).to_list():
        for key in _keys(text):
            if _KEY.fullmatch(key):
                found.setdefault(_plain(key), f"$['{key}']")
    return found


def _keys(text: str) -> list[str]:
    row = json.loads(text)
    return list(row) if isinstance(row, dict) else []


def _zones(
    user_id: pl.Series, told: list[pl.Series], users: pl.DataFrame | None, *, default: str
) -> pl.Series:
    n = len(user_id)
    if users is not None and users.height:
        found = _paths(users["attributes"])
        own = [users["attributes"].str.json_path_match(found[z]) for z in ZONES if z in found]
        if own:
            table = pl.DataFrame({"user_id": users["user_id"], "zone": _first(own, users.height)})
            table = table.unique("user_id", keep="last")
            of_user = pl.DataFrame({"user_id": user_id}).join(
                table, on="user_id", how="left", maintain_order="left"
            )["zone"]
            told = [*told, of_user]
    if not told:
        return pl.Series([default]).new_from_index(0, n)
    real = {z: z if is_zone(z) else None for c in told for z in c.drop_nulls().unique().to_list()}
    whole = _first(
        [
            c.replace_strict(list(real), list(real.values()), default=None, return_dtype=pl.String)
            for c in told
        ]
        if real
        else told,
        n,
    )
    return whole.fill_null(default)


def _local(t_us: pl.Series, zones: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return hour and weekday [n] as words, null where the time is unknown."""
    frame = pl.DataFrame({"t": t_us, "zone": zones}).with_row_index("row")
    parts = []
    for (zone,), part in frame.group_by("zone"):
        at = pl.from_epoch("t", time_unit="us").dt.replace_time_zone("UTC")
        local = at.dt.convert_time_zone(str(zone))
        parts.append(part.select("row", hour=local.dt.hour(), day=local.dt.weekday()))
    if not parts:
        nothing = pl.Series([], dtype=pl.String)
        return nothing, nothing
    whole = pl.concat(parts).sort("row")
    days = {n + 1: day for n, day in enumerate(WEEKDAYS)}
    weekday = whole["day"].replace_strict(days, default=None, return_dtype=pl.String)
    return whole["hour"].cast(pl.String), weekday


@lru_cache(maxsize=1)
def _all_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


@lru_cache(maxsize=1024)
def _zone(name: str) -> zoneinfo.ZoneInfo:
    return zoneinfo.ZoneInfo(name)
