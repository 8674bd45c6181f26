"""The columns of one raw batch, read as what they should be; problems are gathered on the way."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from lifeloop.events.fields import consent_purpose
from lifeloop.events.ids import id_problems
from lifeloop.events.numbers import checked_decimal, parse_numbers
from lifeloop.events.parse import FALSE, TRUE, WIDEST_POSITION, split_categories
from lifeloop.events.readers.batch import RawBatch, ReadOptions
from lifeloop.events.readers.leftovers import dumps, json_objects, merged_objects
from lifeloop.events.time import parse_times

ABSENT = ("", "NA", "N/A", "NULL", "null", "None", "\\N")
"""Texts that stand for no value, in columns of numbers, times, flags and choices; not in ids."""


@dataclass(slots=True)
class _Why:
    """The first reason of each row."""

    told: pl.Series | None = None

    def add(self, broken: pl.Series, reason: "str | pl.Series") -> None:
        new = pl.select(
            pl.when(broken).then(reason if isinstance(reason, pl.Series) else pl.lit(reason))
        ).to_series()
        self.told = new if self.told is None else pl.select(pl.coalesce(self.told, new)).to_series()


class Columns:
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
        self._decimals = {
            key.removesuffix(".decimal"): checked_decimal(value)
            for key, value in options.mapping.items()
            if key.endswith(".decimal")
        }
        self._exact = raw.exact
        self._extras = raw.extras
        self._why = _Why()

    @property
    def why(self) -> pl.Series | None:
        """First reason of each row, null for sound rows; None when all are sound."""
        return self._why.told

    def has(self, name: str) -> bool:
        """Return whether the file has the field."""
        return name in self.frame.columns

    def nothing(self, kind: Any) -> pl.Series:
        """Return a column without any value."""
        return pl.Series([None], dtype=kind).new_from_index(0, self.n)

    def note(self, text: str) -> None:
        """Say what was assumed."""
        self.notes.append(text)

    def refuse(self, broken: pl.Series, reason: "str | pl.Series") -> None:
        """Refuse the rows that are broken, unless they are refused already."""
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
            values = only(values != "", values)
        self.refuse(values.str.contains("\0", literal=True), "nul_character")
        return values

    def identifier(self, name: str, *, person: bool) -> pl.Series:
        """Ids as they are; blank is absent, placeholders are refused."""
        values = self.text(name)
        if values.null_count() == self.n:
            return values
        values = only(values.str.strip_chars() != "", values)
        why = id_problems(values, person=person)
        self.refuse(why.is_not_null(), why)
        return values

    def choice(self, name: str) -> pl.Series:
        """A word out of few, without spaces around."""
        values = self.text(name).str.strip_chars()
        return only(~values.is_in(ABSENT), values)

    def time(self, name: str) -> pl.Series:
        """Microseconds UTC."""
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
        """Finite numbers, as numbers or as text."""
        if not self.has(name):
            return self.nothing(pl.Float64)
        values = self.frame[name]
        if values.dtype.is_numeric():
            numbers = values.cast(pl.Float64, strict=False)
            self.refuse(values.is_not_null() & ~numbers.is_finite(), "bad_number")
            return numbers
        values = as_texts(values).str.strip_chars()
        values = only(~values.is_in(ABSENT), values)
        numbers, why, interpreted = parse_numbers(values, decimal=self._decimals.get(name))
        if why is not None:
            self.refuse(why.is_not_null(), why)
        if interpreted:
            self.note(
                f"{name} holds numbers with decimal commas, thousands or currency signs: 12,50 is "
                f"read as 12.5; --map {name}.decimal=. decides otherwise"
            )
        return numbers

    def position(self, name: str) -> pl.Series:
        """Whole numbers."""
        numbers = self.number(name)
        broken = (numbers != numbers.round(0)) | (numbers.abs() > WIDEST_POSITION)
        self.refuse(broken, "bad_number")
        return only(~broken.fill_null(True), numbers).cast(pl.Int32, strict=False)

    def flag(self, name: str) -> pl.Series:
        """Yes or no."""
        if not self.has(name):
            return self.nothing(pl.Boolean)
        return self._flags(self.frame[name])

    def _flags(self, values: pl.Series) -> pl.Series:
        if values.dtype == pl.Boolean:
            return values
        words = as_texts(values).str.strip_chars()
        words = only(~words.is_in(ABSENT), words).str.to_lowercase()
        yes, no = words.is_in(TRUE), words.is_in(FALSE)
        self.refuse(words.is_not_null() & ~(yes | no), "bad_flag")
        return only(yes | no, yes)

    def categories(self, name: str) -> pl.Series:
        """Lists of words."""
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
            if (
                values.dtype != pl.Boolean
                and as_texts(values).str.strip_chars().str.starts_with("{").any()
            ):
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
        texts = only(whole.fill_null(False), values).cast(pl.Int64, strict=False).cast(pl.String)
        if (rest := values.is_not_null() & texts.is_null()).any():
            pairs = zip(values.to_list(), rest, strict=True)
            odd = pl.Series([repr(v) if is_odd else None for v, is_odd in pairs], dtype=pl.String)
            texts = pl.select(pl.coalesce(texts, odd)).to_series()
        return texts.alias(values.name)
    if kind == pl.Binary:
        read = [None if v is None else v.decode("utf-8", "replace") for v in values.to_list()]
        return pl.Series(values.name, read, dtype=pl.String)
    if kind.is_nested():
        return json_objects(values.struct.unnest()) if kind == pl.Struct else _listed(values)
    return values.cast(pl.String)


def _listed(values: pl.Series) -> pl.Series:
    texts = [None if v is None else dumps(v) for v in values.to_list()]
    return pl.Series(values.name, texts, dtype=pl.String)


def only(mask: pl.Series, values: pl.Series) -> pl.Series:
    """Return the values where ``mask`` holds, null elsewhere."""
    return pl.select(pl.when(mask).then(values)).to_series().alias(values.name)
