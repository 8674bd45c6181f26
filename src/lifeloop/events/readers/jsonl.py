"""JSON lines, streamed, and small JSON arrays."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lifeloop.errors import UnreadableFile
from lifeloop.events.fields import FIELDS, Kind, consent_purpose, field_of, mapped_columns
from lifeloop.events.parse import as_text
from lifeloop.events.problems import NO_ROWS, refusal
from lifeloop.events.readers.batch import RawBatch, ReadOptions
from lifeloop.events.readers.leftovers import dumps
from lifeloop.events.readers.nested import Fields, nested_of, unnested
from lifeloop.events.readers.opening import text_blocks
from lifeloop.events.records import QuarantinedRow

LARGEST_ARRAY = 64 << 20
Expand = Callable[[Mapping[str, Any]], Iterator[Fields]]
_OPENED = ("properties", "data", "payload")
"""Objects whose keys are looked at as if they stood outside."""


def read_json(path: Path, kind: Kind, *, options: ReadOptions) -> Iterator[RawBatch]:
    """Yield JSON lines (or one array of objects) in batches, under our field names.

    Known keys become fields, one level of nesting included (``{"user": {"id": 7}}``); the rest
    stays as it is in the leftovers.

    Raises
    ------
    UnreadableFile
        After the complete rows before the break: a truncated archive. At once: an array of more
        than 64 MB, or JSON that is neither lines nor an array of objects.
    """
    yield from record_rows(_records(path), kind, options=options, path=path)


def record_rows(
    records: Iterator[tuple[int, "str | bytes | dict[str, Any]", int]],
    kind: Kind,
    *,
    options: ReadOptions,
    path: Path,
) -> Iterator[RawBatch]:
    """Yield (line, record, bytes read) in batches, under our field names. As ``read_json``."""
    expand = _expander(kind, options)
    batch = _Batch(kind, options)
    seen = False
    failure: UnreadableFile | None = None
    try:
        for line, text, read in records:
            batch.bytes_read = read
            batch.add(line, text, expand)
            if batch.size >= options.batch_rows:
                seen = True
                yield batch.take()
    except UnreadableFile as error:
        failure = error
    if batch.size:
        seen = True
        yield batch.take()
    if failure is not None:
        raise failure
    if not seen:
        raise refusal(UnreadableFile("the file holds no rows", got=str(path)), NO_ROWS)


def json_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON file that can be read, one by one."""
    for _, text, _ in _records(path):
        with suppress(ValueError, RecursionError):
            record = text if isinstance(text, dict) else json.loads(text)
            if isinstance(record, dict):
                yield record


def _records(path: Path) -> Iterator[tuple[int, "str | bytes | dict[str, Any]", int]]:
    """Yield (line, text or object, bytes read)."""
    rest, line = b"", 1
    first = True
    for block in text_blocks(path):
        data = rest + block.data
        if first and data.lstrip():
            if _is_document(data):
                yield from _document(path)
                return
            first = False
        *lines, rest = data.split(b"\n")
        for text in lines:
            if text.strip():
                yield line, text, block.bytes_read
            line += 1
        if len(rest) > LARGEST_ARRAY:
            raise UnreadableFile(f"line {line} is longer than {LARGEST_ARRAY >> 20} MB")
    if rest.strip():
        yield line, rest, path.stat().st_size


def _is_document(data: bytes) -> bool:
    """Return whether the file is one JSON value over several lines rather than lines."""
    start = data.lstrip()
    if start[:1] == b"[":
        return True
    first = start.split(b"\n", 1)[0].strip()
    return first == b"{" or (first.endswith(b"[") and first.startswith(b"{"))


def _document(path: Path) -> Iterator[tuple[int, dict[str, Any], int]]:
    if path.stat().st_size > LARGEST_ARRAY:
        raise refusal(
            UnreadableFile(
                "a JSON array of this size cannot be streamed",
                got=f"{path} ({path.stat().st_size >> 20} MB)",
                allowed=f"an array of at most {LARGEST_ARRAY >> 20} MB, or JSON lines of any size",
                hint="write one object per line: jq -c '.[]' file.json > file.jsonl",
            ),
            "too_large",
        )
    data = b""
    for block in text_blocks(path):
        data += block.data
        if len(data) > 4 * LARGEST_ARRAY:
            raise refusal(UnreadableFile("the unzipped JSON array is too large"), "too_large")
    try:
        whole = json.loads(data)
    except ValueError as error:
        raise refusal(
            UnreadableFile(f"the file is not valid JSON ({error})", got=str(path)), "corrupt_file"
        ) from None
    if isinstance(whole, dict):
        lists = [value for value in whole.values() if isinstance(value, list)]
        whole = lists[0] if len(lists) == 1 else [whole]
    for place, row in enumerate(whole, start=1):
        yield place, row, path.stat().st_size


def _expander(kind: Kind, options: ReadOptions) -> Expand:
    """Return how one object becomes rows of (our fields, leftovers)."""
    if options.nested is not None:
        return partial(unnested, nested=options.nested)
    nested = nested_of(options.mapping)
    if nested is None:
        mapping = _by_column(kind, options)
        return lambda record: iter([_named(record, kind=kind, mapping=mapping)])

    def expand(record: Mapping[str, Any]) -> Iterator[Fields]:
        for fields, rest in unnested(record, nested):
            yield _named(rest, kind=kind, mapping={}, given=fields)

    return expand


def _by_column(kind: Kind, options: ReadOptions) -> dict[str, str]:
    wanted = {k: v for k, v in options.mapping.items() if "." not in k}
    mapped = mapped_columns(list(wanted.values()), kind, wanted)
    return {column: ours for ours, column in mapped.items()}


def _named(
    record: Mapping[str, Any],
    *,
    kind: Kind,
    mapping: Mapping[str, str],
    given: Mapping[str, Any] | None = None,
) -> Fields:
    """Return (our fields, leftovers) of one object; ``given`` fields are decided already."""
    fields: dict[str, Any] = dict(given or {})
    ranks: dict[str, int] = {}
    extras: dict[str, Any] = {}
    taken = {*mapping.values(), *fields}

    def offer(name: str, value: Any) -> bool:
        if name in mapping:
            fields[mapping[name]] = value
            return True
        if kind == "user" and consent_purpose(name):
            fields[name] = value
            return True
        found = field_of(name, kind)
        if found is None or found[0] in taken:
            return False
        ours, rank = found
        if ours not in fields or rank < ranks[ours]:
            if ours in fields:
                extras[ours] = fields[ours]
            fields[ours], ranks[ours] = value, rank
            return True
        return False

    for key, value in record.items():
        if isinstance(value, dict) and key not in mapping and key not in FIELDS[kind]:
            left = {
                name: inner
                for name, inner in value.items()
                if not (offer(f"{key}.{name}", inner) or (key in _OPENED and offer(name, inner)))
            }
            if left:
                extras[key] = left
        elif value is not None and not offer(key, value):
            extras[key] = value
    return fields, extras


class _Batch:
    """Gathers rows until they are enough."""

    def __init__(self, kind: Kind, options: ReadOptions) -> None:
        self.bytes_read = 0
        self._kind = kind
        self._options = options
        self._clear()

    def _clear(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._extras: list[str | None] = []
        self._lines: list[int] = []
        self._bad: list[QuarantinedRow] = []

    @property
    def size(self) -> int:
        return len(self._rows) + len(self._bad)

    def add(self, line: int, text: "str | bytes | dict[str, Any]", expand: Expand) -> None:
        record: Any = text
        reason = "bad_json"
        if not isinstance(text, dict):
            try:
                record = json.loads(text, parse_constant=_refuse_constant)
            except UnicodeDecodeError:
                record, reason = None, "bad_encoding"
            except (ValueError, RecursionError):
                record = None
        if not isinstance(record, dict):
            shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
            self._bad.append(
                QuarantinedRow(
                    kind=self._kind,
                    reason=reason,
                    raw={"line": shown},
                    source=self._options.source,
                    line=line,
                )
            )
            return
        for fields, extras in expand(record):
            if fields.get("unit_price") is not None:  # events only keep the value of the line
                with suppress(TypeError, ValueError):
                    extras["unit_price"] = float(fields["unit_price"])
            self._rows.append(fields)
            self._extras.append(dumps(extras) if extras else None)
            self._lines.append(line)

    def take(self) -> RawBatch:
        names = dict.fromkeys(name for row in self._rows for name in row)
        frame = pl.DataFrame(
            {
                name: pl.Series([as_text(row.get(name)) for row in self._rows], dtype=pl.String)
                for name in names
            }
        )
        if self._rows and not names:  # a frame needs a column to have a height
            blank = pl.Series([None] * len(self._rows), dtype=pl.String)
            frame = pl.DataFrame({FIELDS[self._kind][1]: blank})
        raw = RawBatch(
            frame,
            np.array(self._lines, np.int64),
            pl.Series(self._extras, dtype=pl.String),
            tuple(self._bad),
            (),
            self.bytes_read,
        )
        self._clear()
        return raw


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
