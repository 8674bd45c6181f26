"""The three records of lifeloop, one at a time (dataclasses) and in bulk (frame schemas).

Times are int64 microseconds since 1970-01-01 UTC (suffix ``_us``). Ids are the caller's
strings, unchanged. In frames, ``context``, ``consent`` and ``attributes`` are JSON text.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import polars as pl

ANONYMOUS_PREFIX = "anon:"
"""How a visitor who is not (yet) linked to a user is called in frames and answers."""

EVENT_SCHEMA: dict[str, Any] = {
    "event_id": pl.String,
    "user_id": pl.String,
    "anonymous_id": pl.String,
    "type": pl.String,
    "occurred_us": pl.Int64,
    "sent_us": pl.Int64,
    "item_id": pl.String,
    "value": pl.Float64,
    "quantity": pl.Float64,
    "currency": pl.String,
    "order_id": pl.String,
    "line_id": pl.String,
    "text": pl.String,
    "rating": pl.Float64,
    "session_id": pl.String,
    "request_id": pl.String,
    "position": pl.Int32,
    "channel": pl.String,
    "referrer_id": pl.String,
    "is_bot": pl.Boolean,
    "source": pl.String,
    "context": pl.String,
}
"""Columns of an event frame before it is stored. ``occurred_us`` null: an event without time."""

STORED_EVENT_SCHEMA: dict[str, Any] = {
    "seq": pl.Int64,
    **EVENT_SCHEMA,
    "t_us": pl.Int64,
    "received_us": pl.Int64,
    "flag": pl.String,
    "refers_to": pl.String,
}
"""Columns of an event frame that comes out of a store. ``t_us`` is the event time of
spec/lifecycle.md section 1; ``flag`` is a comma-separated list of ``future``, ``conflict``,
``version``; ``refers_to`` is the event id that a conflicting or newer version points to."""

ITEM_SCHEMA: dict[str, Any] = {
    "item_id": pl.String,
    "title": pl.String,
    "description": pl.String,
    "categories": pl.List(pl.String),
    "brand": pl.String,
    "price": pl.Float64,
    "cost": pl.Float64,
    "list_price": pl.Float64,
    "url": pl.String,
    "image": pl.String,
    "audio": pl.String,
    "stock": pl.Float64,
    "parent_id": pl.String,
    "kind": pl.String,
    "language": pl.String,
    "provider_id": pl.String,
    "available_from_us": pl.Int64,
    "available_until_us": pl.Int64,
    "attributes": pl.String,
}

USER_SCHEMA: dict[str, Any] = {
    "user_id": pl.String,
    "created_us": pl.Int64,
    "channel": pl.String,
    "consent": pl.String,
    "attributes": pl.String,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something one user (or anonymous visitor) did, once.

    ``occurred_us`` None means the time is unknown: the event feeds the models and not the
    lifecycle. ``value`` is money of the whole line in ``currency``. ``event_id`` None lets the
    store give a fresh id, so that five identical calls are five events.
    """

    type: str
    user_id: str | None = None
    anonymous_id: str | None = None
    occurred_us: int | None = None
    sent_us: int | None = None
    event_id: str | None = None
    item_id: str | None = None
    value: float | None = None
    quantity: float | None = None
    currency: str | None = None
    order_id: str | None = None
    line_id: str | None = None
    text: str | None = None
    rating: float | None = None
    session_id: str | None = None
    request_id: str | None = None
    position: int | None = None
    channel: str | None = None
    referrer_id: str | None = None
    is_bot: bool | None = None
    source: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something that can be recommended: a product, an article, a film, a fund, an account."""

    item_id: str
    title: str | None = None
    description: str | None = None
    categories: tuple[str, ...] = ()
    brand: str | None = None
    price: float | None = None
    cost: float | None = None
    list_price: float | None = None
    url: str | None = None
    image: str | None = None
    audio: str | None = None
    stock: float | None = None
    parent_id: str | None = None
    kind: str | None = None
    language: str | None = None
    provider_id: str | None = None
    available_from_us: int | None = None
    available_until_us: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person with an account: attributes, consent flags and how they came."""

    user_id: str
    created_us: int | None = None
    channel: str | None = None
    consent: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """One refused row, kept as it came so that it can be repaired and replayed.

    ``key`` is its name in quarantine: a row that brings one is kept once under it.
    """

    kind: Literal["event", "item", "user"]
    reason: str
    raw: Mapping[str, Any]
    source: str = ""
    line: int | None = None
    quarantine_id: int | None = None
    received_us: int | None = None
    key: str | None = None


def frame_of(rows: Sequence[Event | Item | User], schema: Mapping[str, Any]) -> pl.DataFrame:
    """Return records of one kind as a frame with exactly the columns of ``schema``."""
    columns: dict[str, list[Any]] = {name: [] for name in schema}
    for spec in fields(rows[0]) if rows else ():
        values = [getattr(row, spec.name) for row in rows]
        # most columns are plain, and looking at each of their values would cost more than all else
        plain = _PLAIN.issuperset(map(type, values))
        columns[spec.name] = values if plain else [_cell(value) for value in values]
    return pl.DataFrame(columns, schema=dict(schema))


_PLAIN = frozenset({type(None), str, int, float, bool})


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False, sort_keys=True) if value else None
    return list(value) if isinstance(value, tuple) else value
