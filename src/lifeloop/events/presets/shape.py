"""What a preset is made of: shapes of files, each known by its columns."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from lifeloop.events.fields import Kind
from lifeloop.events.readers import ReadOptions, tables_of
from lifeloop.events.readers.jsonl import json_records
from lifeloop.events.readers.nested import Nested
from lifeloop.events.readers.opening import format_of


@dataclass(frozen=True, slots=True)
class Peek:
    """What the beginning of a file shows: its columns (``0``, ``1``, … without a header)."""

    path: Path
    columns: tuple[str, ...]
    first: Mapping[str, Any]

    def has(self, *names: str) -> bool:
        """Return whether the file has all columns; ``a|b`` asks for one of both."""
        known = {_plain(column) for column in self.columns}
        return all(any(_plain(n) in known for n in name.split("|")) for name in names)


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of file of one system.

    Attributes
    ----------
    title : what the file is, in the words of that system.
    needs : columns by which it is known, ``a|b`` for one of both; with ``fits`` both must hold.
    mapping, nested, types, default_type, zone : see ``ReadOptions``.
    distinct : the file names one item many times; only its newest values are taken.
    links : rows say that ``anonymous_id`` is ``user_id``: no events, but links of identity.
    """

    kind: Kind
    title: str
    needs: tuple[str, ...] = ()
    fits: Callable[[Peek], bool] | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    nested: Nested | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    default_type: str | None = None
    zone: str | None = None
    distinct: bool = False
    links: bool = False

    def accepts(self, peek: Peek) -> bool:
        """Return whether a file is of this shape."""
        return peek.has(*self.needs) and (self.fits is None or self.fits(peek))


@dataclass(frozen=True, slots=True)
class Preset:
    """The exports of one system.

    ``convert`` reads what no shape can (files that describe an item over many rows): from all
    files and a folder for its own to (kind, file, options) and notes.
    """

    name: str
    title: str
    documentation: str
    shapes: tuple[Shape, ...]
    notes: tuple[str, ...] = ()
    convert: Callable[[list[Peek], Path], list[tuple[Kind, Path, ReadOptions]]] | None = None


def peek(path: Path) -> Peek:
    """Look at the beginning of a file. Raises as ``read``."""
    if format_of(path) == "json":
        records = list(islice(json_records(path), 50))
        names = dict.fromkeys(name for record in records for name in record)
        return Peek(path, tuple(names), records[0] if records else {})
    columns: tuple[str, ...] = ()
    for table in tables_of(path, "event", options=ReadOptions(batch_rows=50)):
        columns = tuple(table.frame.columns)
        if table.frame.height:
            return Peek(path, columns, table.frame.row(0, named=True))
    return Peek(path, columns, {})


def _plain(column: str) -> str:
    return re.sub(r"[\W_]+", "", column).lower()
