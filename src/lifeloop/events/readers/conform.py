"""Raw rows -> frames with exactly our columns; rows that cannot be used -> their reasons."""

import json
from dataclasses import dataclass
from typing import Any

import polars as pl

from lifeloop.errors import InputError
from lifeloop.events.fields import Kind
from lifeloop.events.ids import id_problems
from lifeloop.events.parse import FALSE, TRUE, WIDEST_POSITION, consent_purpose, split_categories
from lifeloop.events.problems import refusal
from lifeloop.events.readers.batch import Batch, RawBatch, ReadOptions
from lifeloop.events.readers.leftovers import dumps, json_objects, merged_objects
from lifeloop.events.records import EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA, QuarantinedRow
from lifeloop.events.time import parse_times

SCHEMAS: dict[Kind, dict[str, Any]] = {
    "event": EVENT_SCHEMA,
    "item": ITEM_SCHEMA,
    "user": USER_SCHEMA,
}
ABSENT = ("", "NA", "N/A", "NULL", "null", "None", "\\N")
"""Texts that stand for no value, in columns of numbers, times, flags and choices; not in ids."""


def conformed(raw: RawBatch, kind: Kind, *, options: ReadOptions) -> Batch:
    """Return the rows of ``raw`` as ``kind``, and those that are refused with their reason.

    The first problem of a row in the order of its columns is its reason; quarantine keeps every
    value as it came, under our names, so that the row can be replayed without its mapping.
    """
    rows = _Rows(raw, options)
    if not raw.frame.height:
        return Batch(_empty(kind), raw.lines, raw.rejected, raw.notes, raw.bytes_read)
    columns = {"event": _event, "item": _item, "user": _user}[kind](rows, options)
    frame = pl.DataFrame({n: columns.get(n, rows.nothing(k)) for n, k in SCHEMAS[kind].items()})
    why = rows.why
    notes = raw.notes + tuple(rows.notes)
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


def _empty(kind: Kind) -> pl.DataFrame:
    return pl.DataFrame(schema=SCHEMAS[kind])


# ---------------------------------------------------------------- the three kinds


def _event(rows: "_Rows", options: ReadOptions) -> dict[str, pl.Series]:
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
    for name in ("currency", "order_id", "line_id", "session_id", "request_id", "channel",
                 "referrer_id", "text"):
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


def _item(rows: "_Rows", options: ReadOptions) -> dict[str, pl.Series]:
    found = {"item_id": rows.identifier("item_id", person=False)}
    rows.refuse(found["item_id"].is_null(), "missing_item_id")
    for name in ("title", "description", "brand", "url", "image", "audio", "parent_id", "kind",
                 "language", "provider_id"):
        found[name] = rows.text(name)
    for name in ("price", "cost", "list_price", "stock"):
        found[name] = rows.number(name)
    found["categories"] = rows.categories("categories")
    found["available_from_us"] = rows.time("available_from")
    found["available_until_us"] = rows.time("available_until")
    found["attributes"] = rows.objects("attributes")
    return found


def _user(rows: "_Rows", options: ReadOptions) -> dict[str, pl.Series]:
    found = {"user_id": rows.identifier("user_id", person=True)}
    rows.refuse(found["user_id"].is_null(), "missing_user_id")
    found["created_us"] = rows.time("created_at")
    found["channel"] = rows.text("channel")
    found["consent"] = rows.consent()
    found["attributes"] = rows.objects("attributes")
    return found


def _types(rows: "_Rows", options: ReadOptions) -> pl.Series:
    """What happened: the column, the caller's word, or what only one type can be."""
    if rows.has("type"):
        said = rows.choice("type")
        renamed = {v: k.removeprefix("type.") for k, v in options.mapping.items()
                   if k.startswith("type.")}
        if renamed:
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
                got=[name for name in rows.frame.columns],
                allowed="a column named type, event, behavior, …, or one type for all rows",
                hint="--type view, or --map type=<your column>",
            ),
            "missing_type",
        )
    return pl.Series([assumed], dtype=pl.String).new_from_index(0, rows.n)


def _price(rows: "_Rows", found: dict[str, pl.Series]) -> None:
    """Money of the line from unit price and quantity, where the line does not say it itself."""
    price = rows.number("unit_price")
    if rows.has("value") or not rows.has("quantity"):
        rows.keep("unit_price", price)
        return
    found["value"] = (price * found["quantity"]).round(6)
    rows.keep("unit_price", price)
    rows.note("value is unit price × quantity; the unit price is kept in context")


# ---------------------------------------------------------------- columns


@dataclass(slots=True)
class _Why:
    """The first reason of each row."""

    told: pl.Series | None = None

    def add(self, broken: pl.Series, reason: "str | pl.Series") -> None:
        new = pl.select(
            pl.when(broken).then(reason if isinstance(reason, pl.Series) else pl.lit(reason))
        ).to_series()
        self.told = new if self.told is None else pl.select(pl.coalesce(self.told, new)).to_series()


class _Rows:
    """Reads one raw batch column by column, gathering the first problem of each row."""

    def __init__(self, raw: RawBatch, options: ReadOptions) -> None:
        self.frame = raw.frame
        self.n = raw.frame.height
        self.notes: list[str] = []
        self._zone = options.zone
        self._formats = {
            key.removesuffix(".format"): value
            for key, value in options.mapping.items()
            if key.endswith(".format")
        }
        self._exact = raw.exact
        self._extras = raw.extras
        self._kept: dict[str, pl.Series] = {}
        self._why = _Why()

    @property
    def why(self) -> pl.Series | None:
        """First reason of each row, null for sound rows; None when all are sound."""
        return self._why.told

    def has(self, name: str) -> bool:
        return name in self.frame.columns

    def nothing(self, kind: Any) -> pl.Series:
        return pl.Series([None], dtype=kind).new_from_index(0, self.n)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def keep(self, name: str, values: pl.Series) -> None:
        """Put a column into the leftovers."""
        self._kept[name] = values

    def refuse(self, broken: pl.Series, reason: "str | pl.Series") -> None:
        broken = broken.fill_null(False)
        if broken.any():
            self._why.add(broken, reason)

    def text(self, name: str) -> pl.Series:
        """Any column as text; empty is absent."""
        if not self.has(name):
            return self.nothing(pl.String)
        values = as_texts(self.frame[name])
        if values.null_count() == self.n:
            return values
        if (values == "").any():
            values = _where(values != "", values)
        self.refuse(values.str.contains("\0", literal=True), "nul_character")
        return values

    def identifier(self, name: str, *, person: bool) -> pl.Series:
        values = self.text(name)
        if values.null_count() == self.n:
            return values
        values = _where(values.str.strip_chars() != "", values)
        why = id_problems(values, person=person)
        self.refuse(why.is_not_null(), why)
        return values

    def choice(self, name: str) -> pl.Series:
        values = self.text(name).str.strip_chars()
        return _where(~values.is_in(ABSENT), values)

    def time(self, name: str) -> pl.Series:
        if not self.has(name):
            return self.nothing(pl.Int64)
        values = self.frame[name]
        if values.dtype == pl.Float32:
            self.note(
                f"{name} comes as 32-bit floats, which tell epochs apart only to about two "
                "minutes; the order within that is the file's"
            )
        if name in self._exact and values.dtype.is_integer():
            values = values.cast(pl.Datetime("us", "UTC"))
        us, why = parse_times(values, zone=self._zone, format=self._formats.get(name))
        self.refuse(why.is_not_null(), why)
        return us

    def number(self, name: str) -> pl.Series:
        if not self.has(name):
            return self.nothing(pl.Float64)
        values = self.frame[name]
        if not values.dtype.is_numeric():
            values = as_texts(values).str.strip_chars()
            values = _where(~values.is_in(ABSENT), values)
        numbers = values.cast(pl.Float64, strict=False)
        broken = values.is_not_null() & (numbers.is_null() | ~numbers.is_finite())
        self.refuse(broken, "bad_number")
        return numbers

    def position(self, name: str) -> pl.Series:
        numbers = self.number(name)
        broken = (numbers != numbers.round(0)) | (numbers.abs() > WIDEST_POSITION)
        self.refuse(broken, "bad_number")
        return _where(~broken.fill_null(True), numbers).cast(pl.Int32, strict=False)

    def flag(self, name: str) -> pl.Series:
        if not self.has(name):
            return self.nothing(pl.Boolean)
        return self._flags(self.frame[name])

    def _flags(self, values: pl.Series) -> pl.Series:
        if values.dtype == pl.Boolean:
            return values
        words = as_texts(values).str.strip_chars()
        words = _where(~words.is_in(ABSENT), words).str.to_lowercase()
        yes, no = words.is_in(TRUE), words.is_in(FALSE)
        self.refuse(words.is_not_null() & ~(yes | no), "bad_flag")
        return _where(yes | no, yes)

    def categories(self, name: str) -> pl.Series:
        kind = pl.List(pl.String)
        if not self.has(name):
            return self.nothing(kind)
        values = self.frame[name]
        if values.dtype not in (pl.List, pl.Array):
            values = as_texts(values)
        split: dict[Any, list[str] | None] = {None: None}
        lists: list[list[str] | None] = []
        for value in values.to_list():
            key = value if isinstance(value, str) or value is None else tuple(value)
            if key not in split:
                split[key] = list(split_categories(value)) or None
            lists.append(split[key])
        return pl.Series(name, lists, dtype=kind)

    def consent(self) -> pl.Series:
        """Consent flags from one column or from columns such as consent_ads."""
        flags: dict[str, pl.Series] = {}
        if self.has("consent"):
            values = self.frame["consent"]
            if values.dtype != pl.Boolean and as_texts(values).str.strip_chars().str.starts_with("{").any():
                texts, broken = merged_objects(as_texts(values), None)
                self.refuse(broken, "bad_json")
                return texts
            flags["personalisation"] = self._flags(values)
        for column in self.frame.columns:
            if purpose := consent_purpose(column):
                flags[purpose] = self._flags(self.frame[column])
        if not flags:
            return self.nothing(pl.String)
        return json_objects(pl.DataFrame(flags))

    def objects(self, name: str) -> pl.Series:
        """The JSON column of leftovers, with the file's own object of that name."""
        extras = self._extras
        if self._kept:
            kept = json_objects(pl.DataFrame(self._kept))
            extras = kept if extras is None else merged_objects(kept, extras)[0]
        if not self.has(name):
            texts = self.nothing(pl.String) if extras is None else extras
        else:
            own = self.frame[name]
            own = json_objects(own.struct.unnest()) if own.dtype == pl.Struct else as_texts(own)
            texts, broken = merged_objects(own, extras)
            self.refuse(broken, "bad_json")
        self.refuse(texts.str.contains("\\u0000", literal=True), "nul_character")
        return texts


def as_texts(values: pl.Series) -> pl.Series:
    """Return any column as text: 7 -> "7", 17850.0 -> "17850", lists and objects as JSON."""
    kind = values.dtype
    if kind == pl.String:
        return values
    if kind.is_float():
        whole = values.is_finite() & (values == values.round(0)) & (values.abs() < 2**53)
        texts = _where(whole.fill_null(False), values).cast(pl.Int64, strict=False).cast(pl.String)
        if (rest := values.is_not_null() & texts.is_null()).any():
            exact = [repr(v) if odd else None for v, odd in zip(values.to_list(), rest, strict=True)]
            texts = pl.select(pl.coalesce(texts, pl.Series(exact, dtype=pl.String))).to_series()
        return texts.alias(values.name)
    if kind == pl.Binary:
        texts = [None if v is None else v.decode("utf-8", "replace") for v in values.to_list()]
        return pl.Series(values.name, texts, dtype=pl.String)
    if kind.is_nested():
        return json_objects(values.struct.unnest()) if kind == pl.Struct else _listed(values)
    return values.cast(pl.String)


def _listed(values: pl.Series) -> pl.Series:
    texts = [None if v is None else dumps(v) for v in values.to_list()]
    return pl.Series(values.name, texts, dtype=pl.String)


def _where(mask: pl.Series, values: pl.Series) -> pl.Series:
    return pl.select(pl.when(mask).then(values)).to_series().alias(values.name)


def _quarantined(
    raw: RawBatch, why: pl.Series, kind: Kind, options: ReadOptions
) -> tuple[QuarantinedRow, ...]:
    broken = why.is_not_null()
    values = raw.frame.filter(broken).rows(named=True)
    reasons = why.filter(broken).to_list()
    lines = raw.lines[broken.to_numpy()].tolist()
    extras = [None] * len(values) if raw.extras is None else list(raw.extras.filter(broken))
    refused = []
    for row, extra, reason, line in zip(values, extras, reasons, lines, strict=True):
        kept = {name: _plain(value) for name, value in row.items() if value is not None}
        if extra:
            kept = {**_loaded(extra), **kept}
        if kind == "event" and "type" not in kept and options.default_type is not None:
            kept["type"] = options.default_type
        refused.append(
            QuarantinedRow(kind=kind, reason=reason, raw=kept, source=options.source, line=line)
        )
    return tuple(refused)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else str(value)


def _loaded(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(text)
    return loaded
