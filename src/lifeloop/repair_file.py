"""Quarantine as a table to edit: written as CSV, read back; only cells that changed are changed."""

import csv
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lifeloop.contracts import QuarantinedRow
from lifeloop.errors import InputError
from lifeloop.repair import Change, Edit

OWN = ("#id", "#kind", "#reason", "#source", "#line")
"""Columns of ours; the rest are the columns of the rows, as they came."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_rows(rows: Iterable[QuarantinedRow], path: Path) -> int:
    """Write refused rows as CSV for a spreadsheet; return how many.

    A text that a spreadsheet would run as a formula gets an apostrophe before it; what is no text
    is written as JSON. Reading the file back takes both for unchanged.
    """
    held = list(rows)
    names = list(dict.fromkeys(name for row in held for name in row.raw))
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with draft.open("w", encoding="utf-8-sig", newline="") as file:
            out = csv.writer(file)
            out.writerow([*OWN, *(_text(name) for name in names)])
            for row in held:
                own = [row.quarantine_id, row.kind, row.reason, _text(row.source), row.line]
                out.writerow([*own, *(_shown(row.raw.get(name)) for name in names)])
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return len(held)


def read_edits(path: Path) -> dict[int, dict[str, str]]:
    """Return id -> column -> cell of a file that ``write_rows`` made and somebody edited.

    Raises
    ------
    InputError
        If it is no such file, or a line of it has no id, or an id twice.
    """
    edits: dict[int, dict[str, str]] = {}
    csv.field_size_limit(2**31 - 1)
    try:
        for number, row in enumerate(_lines(path), start=2):
            name = str(row.pop("#id") or "").replace(",", "").strip()
            if not name.isdigit() or int(name) in edits:
                why = "twice" if name.isdigit() else "missing"
                raise InputError(f"line {number}: the id of the row is {why}", got=name)
            kept = {k: v for k, v in row.items() if k is not None and k not in OWN}
            edits[int(name)] = {k: v or "" for k, v in kept.items()}
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"the file is no CSV that can be read ({error})",
            got=str(path),
            hint="save it as CSV (UTF-8)",
        ) from error
    return edits


def edits_of(edits: dict[int, dict[str, str]]) -> Edit:
    """Return the edit that gives each row the cells that somebody changed."""

    def edit(row: QuarantinedRow) -> Change | None:
        cells = edits.get(row.quarantine_id or -1)
        if cells is None:
            return None
        names = {_text(name): name for name in row.raw}
        changes: dict[str, Any] = {}
        for column, cell in cells.items():
            name = names.get(column, column)
            if cell != _shown(row.raw.get(name)):
                changes[name] = cell[1:] if cell[:1] == "'" and cell[1:2] in _FORMULA else cell
        return changes

    return edit


def _lines(path: Path) -> Iterator[dict[Any, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        file.seek(0)
        marks = {mark: head.count(mark) for mark in ",;\t"}  # as spreadsheets of Europe save it
        found = csv.DictReader(file, delimiter=max(marks, key=lambda mark: marks[mark]))
        if "#id" not in (found.fieldnames or ()):
            raise InputError(
                "the file has no column #id",
                got=str(path),
                hint="begin with lifeloop quarantine export FILE",
            )
        yield from found


def _shown(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    risky = isinstance(value, str) and value[:1] in _FORMULA and not _is_number(value)
    return _text("'" + text if risky else text)


def _is_number(text: str) -> bool:
    return text[:1] in "+-" and text[1:].replace(".", "", 1).replace(",", "").isdigit()


def _text(text: str) -> str:
    """Return a text without what a CSV of UTF-8 cannot hold."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
