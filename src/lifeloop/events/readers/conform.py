"""Raw rows -> frames with exactly our columns; rows that cannot be used -> their reasons."""

import json
from typing import Any

import polars as pl

from lifeloop.errors import InputError
from lifeloop.events.fields import Kind
from lifeloop.events.problems import refusal
from lifeloop.events.readers.batch import Batch, RawBatch, ReadOptions
from lifeloop.events.readers.columns import Columns
from lifeloop.events.records import EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA, QuarantinedRow

SCHEMAS: dict[Kind, dict[str, Any]] = {
    "event": EVENT_SCHEMA,
    "item": ITEM_SCHEMA,
    "user": USER_SCHEMA,
}


def conformed(raw: RawBatch, kind: Kind, *, options: ReadOptions) -> Batch:
    """Return the rows of ``raw`` as ``kind``, and those that are refused with their reason.

    The first problem of a row in the order of its columns is its reason; quarantine keeps every
    value as it came, under our names, so that the row can be replayed without its mapping.
    """
    if not raw.frame.height:
        return Batch(_empty(kind), raw.lines, raw.rejected, raw.notes, raw.bytes_read)
    frame, why, notes = judged(raw, kind, options=options)
    if why is None:
        return Batch(frame, raw.lines, raw.rejected, notes, raw.bytes_read)
    sound = why.is_null()
    refused = _quarantined(raw, why, kind, options)
    return Batch(
        frame.filter(sound),
        raw.lines[sound.to_numpy()],
        raw.rejected + refused,
        notes,
        raw.bytes_read,
    )


def judged(
    raw: RawBatch, kind: Kind, *, options: ReadOptions
) -> tuple[pl.DataFrame, pl.Series | None, tuple[str, ...]]:
    """Return every row as ``kind``, why some are refused (None: none), and what was assumed."""
    rows = Columns(raw, options)
    columns = {"event": _event, "item": _item, "user": _user}[kind](rows, options)
    frame = pl.DataFrame({n: columns.get(n, rows.nothing(k)) for n, k in SCHEMAS[kind].items()})
    return frame, rows.why, raw.notes + tuple(rows.notes)


def _empty(kind: Kind) -> pl.DataFrame:
    return pl.DataFrame(schema=SCHEMAS[kind])


# ---------------------------------------------------------------- the three kinds


def _event(rows: Columns, options: ReadOptions) -> dict[str, pl.Series]:
    found = {
        "event_id": rows.text("event_id"),
        "user_id": rows.identifier("user_id", person=True),
        "anonymous_id": rows.identifier("anonymous_id", person=True),
        "type": _types(rows, options),
        "occurred_us": rows.time("occurred_at"),
        "sent_us": rows.time("sent_at"),
        "item_id": rows.identifier("item_id", person=False),
        "value": rows.number("value"),
        "quantity": rows.number("quantity"),
        "rating": rows.number("rating"),
        "position": rows.position("position"),
        "is_bot": rows.flag("is_bot"),
        "source": pl.Series([options.source], dtype=pl.String).new_from_index(0, rows.n),
    }
    for name in (
        "currency",
        "order_id",
        "line_id",
        "session_id",
        "request_id",
        "channel",
        "referrer_id",
        "text",
    ):
        found[name] = rows.text(name)
    if options.currency is not None:
        found["currency"] = found["currency"].fill_null(options.currency)
    if rows.has("unit_price"):
        _price(rows, found)
    nobody = found["user_id"].is_null() & found["anonymous_id"].is_null()
    rows.refuse(nobody, "missing_user_id")
    rows.refuse(found["type"].is_null(), "missing_type")
    found["context"] = rows.objects("context")
    return found


def _item(rows: Columns, options: ReadOptions) -> dict[str, pl.Series]:
    found = {"item_id": rows.identifier("item_id", person=False)}
    rows.refuse(found["item_id"].is_null(), "missing_item_id")
    for name in (
        "title",
        "description",
        "brand",
        "url",
        "image",
        "audio",
        "parent_id",
        "kind",
        "language",
        "provider_id",
    ):
        found[name] = rows.text(name)
    for name in ("price", "cost", "list_price", "stock"):
        found[name] = rows.number(name)
    found["categories"] = rows.categories("categories")
    found["available_from_us"] = rows.time("available_from")
    found["available_until_us"] = rows.time("available_until")
    found["attributes"] = rows.objects("attributes")
    return found


def _user(rows: Columns, options: ReadOptions) -> dict[str, pl.Series]:
    found = {"user_id": rows.identifier("user_id", person=True)}
    rows.refuse(found["user_id"].is_null(), "missing_user_id")
    found["created_us"] = rows.time("created_at")
    found["channel"] = rows.text("channel")
    found["consent"] = rows.consent()
    found["attributes"] = rows.objects("attributes")
    return found


def _types(rows: Columns, options: ReadOptions) -> pl.Series:
    """What happened: the column, the caller's word, or what only one type can be."""
    if rows.has("type"):
        said = rows.choice("type")
        if renamed := _renamed(options):
            said = said.replace(renamed)
        return said if options.default_type is None else said.fill_null(options.default_type)
    assumed = options.default_type
    if assumed is None and rows.has("order_id"):
        assumed = "purchase"
        rows.note("no column says what happened: rows with an order_id are read as purchase lines")
    elif assumed is None and rows.has("rating"):
        assumed = "rating"
        rows.note("no column says what happened: rows with a rating are read as ratings")
    if assumed is None:
        raise refusal(
            InputError(
                "no column says what happened",
                got=list(rows.frame.columns),
                allowed="a column named type, event, behavior, …, or one type for all rows",
                hint="--type view, or --map type=<your column>",
            ),
            "missing_type",
        )
    return pl.Series([assumed], dtype=pl.String).new_from_index(0, rows.n)


def _renamed(options: ReadOptions) -> dict[str, str]:
    """Return the file's word for what happened -> ours."""
    return dict(options.types) | {
        v: k.removeprefix("type.") for k, v in options.mapping.items() if k.startswith("type.")
    }


def _price(rows: Columns, found: dict[str, pl.Series]) -> None:
    """Money of the line from unit price and quantity, where the line does not say it itself."""
    price = rows.number("unit_price")
    if not rows.has("quantity"):
        return
    lacking = found["value"].is_null()
    if not (lacking & price.is_not_null()).any():
        return
    found["value"] = found["value"].fill_null((price * found["quantity"]).round(6))
    rows.note("value is unit price × quantity; the unit price is kept in context")


def _quarantined(
    raw: RawBatch, why: pl.Series, kind: Kind, options: ReadOptions
) -> tuple[QuarantinedRow, ...]:
    broken = why.is_not_null()
    values = raw.frame.filter(broken).rows(named=True)
    reasons = why.filter(broken).to_list()
    lines = raw.lines[broken.to_numpy()].tolist()
    extras: list[str | None] = [None] * len(values)
    if raw.extras is not None:
        extras = raw.extras.filter(broken).to_list()
    refused = []
    renamed = _renamed(options)
    for row, extra, reason, line in zip(values, extras, reasons, lines, strict=True):
        kept = {name: _plain(value) for name, value in row.items() if value is not None}
        if extra:
            kept = {**_loaded(extra), **kept}
        if kind == "event" and "type" not in kept and options.default_type is not None:
            kept["type"] = options.default_type
        if kind == "event" and kept.get("type") in renamed:
            kept["type"] = renamed[kept["type"]]
        refused.append(
            QuarantinedRow(kind=kind, reason=reason, raw=kept, source=options.source, line=line)
        )
    return tuple(refused)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else str(value)


def _loaded(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(text)
    return loaded
