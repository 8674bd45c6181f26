"""Bytes of a text table -> rows of cells; rows that are broken are told, the others go on.

Two ways give the same rows. The fast one finds row ends and delimiters with numpy, checks that
every quotation mark opens or closes a field, and lets polars cut the cells. Where a block breaks
those rules (a stray quotation mark, an inch sign), the careful one reads it line by line and
recovers after a quotation mark that is never closed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

_QUOTE, _NEWLINE, _RETURN = 34, 10, 13
LONGEST_FIELD = 1 << 20
MOST_LINES = 1_000
"""A quotation mark that is not closed within this many lines or a megabyte is a stray one."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be cut into cells."""

    line: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one block: cells as text, their lines, the broken ones, and the unfinished rest."""

    frame: pl.DataFrame
    lines: NDArray[np.int64]
    bad: tuple[BadRow, ...]
    rest: bytes
    next_line: int


def cut_rows(
    data: bytes, columns: Sequence[str], delimiter: str, *, line: int, final: bool
) -> Rows:
    """Cut a block that begins at a row start into rows of ``len(columns)`` cells.

    Parameters
    ----------
    data : bytes
        UTF-8, with what the last call left over in front.
    columns : sequence of str
        Names of the cells.
    delimiter : str
        One character, or ``::`` (which knows no quotation marks).
    line : int
        Line number of the first byte.
    final : bool
        Nothing follows: the last line counts without a newline.
    """
    data = data.replace(b"\r\n", b"\n") if b"\r" in data else data
    if final and data and not data.endswith(b"\n"):
        data += b"\n"
    if b"\r" in data and b"\n" not in data:
        data = data.replace(b"\r", b"\n")  # old Macintosh files
    end = data.rfind(b"\n") + 1
    if not end:
        return Rows(_frame([], columns), np.empty(0, np.int64), (), data, line)
    mark = delimiter.encode()
    quoting = len(mark) == 1
    if not quoting:
        whole, rest = data[:end].replace(mark, b"\x1f"), data[end:]
        fast = _fast(whole, columns, b"\x1f", line, quoting=False)
        return (
            Rows(fast.frame, fast.lines, fast.bad, rest, fast.next_line)
            if fast
            else _careful(data, columns, delimiter, line, final=final)
        )
    if b'"' in data:
        end = _balanced_end(data, end)
    if end:
        fast = _fast(data[:end], columns, mark, line, quoting=b'"' in data)
        if fast is not None:
            return Rows(fast.frame, fast.lines, fast.bad, data[end:], fast.next_line)
    elif not final and len(data) < LONGEST_FIELD:
        return Rows(_frame([], columns), np.empty(0, np.int64), (), data, line)
    return _careful(data, columns, delimiter, line, final=final)


def _balanced_end(data: bytes, end: int) -> int:
    """Return the end of the last line that is not inside quotation marks, 0 if there is none."""
    array = np.frombuffer(data, np.uint8)[:end]
    quotes = np.flatnonzero(array == _QUOTE)
    newlines = np.flatnonzero(array == _NEWLINE)
    outside = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    return int(outside[-1]) + 1 if len(outside) else 0


# ---------------------------------------------------------------- the fast way


def _fast(
    data: bytes, columns: Sequence[str], mark: bytes, line: int, *, quoting: bool
) -> Rows | None:
    array = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(array == _NEWLINE)
    marks = np.flatnonzero(array == mark[0])
    ends = newlines
    if quoting:
        quotes = np.flatnonzero(array == _QUOTE)
        if not _regular(array, quotes, mark[0]):
            return None
        ends = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        marks = marks[np.searchsorted(quotes, marks) % 2 == 0]
    starts: NDArray[np.int64] = np.concatenate(([0], ends[:-1] + 1)).astype(np.int64)
    # [rows], also past quoted newlines
    numbers: NDArray[np.int64] = np.searchsorted(newlines, starts).astype(np.int64) + line
    blank = ends == starts
    found = np.diff(np.r_[0, np.searchsorted(marks, ends)]) + 1
    why = np.where(found != len(columns), "column_count", "").astype("U16")
    if b"\0" in data:
        holds = np.searchsorted(ends, np.flatnonzero(array == 0))
        why[holds] = "nul_character"
    for row in _undecodable(data, starts, ends):
        why[row] = "bad_encoding"
    sound = (why == "") & ~blank
    bad = tuple(
        BadRow(int(numbers[i]), str(why[i]), _shown(data[int(starts[i]) : int(ends[i])], mark))
        for i in np.flatnonzero((why != "") & ~blank).tolist()
    )
    kept = (
        data
        if sound.all()
        else b"".join(
            [data[int(starts[i]) : int(ends[i]) + 1] for i in np.flatnonzero(sound).tolist()]
        )
    )
    frame = _parsed(kept, columns, mark, quoting=quoting)
    if frame is None or frame.height != int(sound.sum()):
        return None
    return Rows(frame, numbers[sound], bad, b"", line + len(newlines))


def _regular(array: NDArray[np.uint8], quotes: NDArray[np.int64], mark: int) -> bool:
    """Return whether every quotation mark opens or closes a field, or is doubled inside one."""
    if len(quotes) % 2:
        return False
    opens, closes = quotes[0::2], quotes[1::2]
    before = np.where(opens > 0, array[opens - 1], _NEWLINE)
    following = np.minimum(closes + 1, len(array) - 1)
    after = np.where(closes + 1 < len(array), array[following], _NEWLINE)
    return bool(
        np.isin(before, (mark, _NEWLINE, _QUOTE)).all()
        and np.isin(after, (mark, _NEWLINE, _QUOTE, _RETURN)).all()
    )


def _undecodable(data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[int]:
    if data.isascii():
        return []
    try:
        data.decode()
    except UnicodeDecodeError:
        return [
            i
            for i, (start, end) in enumerate(zip(starts, ends, strict=True))
            if not _decodes(data[start:end])
        ]
    return []


def _decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parsed(
    data: bytes, columns: Sequence[str], mark: bytes, *, quoting: bool
) -> pl.DataFrame | None:
    if not data:
        return _frame([], columns)
    try:
        frame = pl.read_csv(
            data,
            has_header=False,
            separator=mark.decode(),
            quote_char='"' if quoting else None,
            infer_schema=False,
        )
    except pl.exceptions.PolarsError:
        return None
    if frame.width != len(columns):
        return None
    frame.columns = list(columns)
    if quoting and b'""' in data:  # a quoted nothing is nothing, as in the careful way
        frame = frame.with_columns(pl.when(pl.all() != "").then(pl.all()))
    return frame


# ---------------------------------------------------------------- the careful way


def _careful(
    data: bytes, columns: Sequence[str], delimiter: str, line: int, *, final: bool
) -> Rows:
    end = data.rfind(b"\n") + 1
    lines = data[:end].split(b"\n")[:-1]
    cells: list[list[str]] = []
    numbers: list[int] = []
    bad: list[BadRow] = []
    rest = data[end:]
    i = 0
    while i < len(lines):
        taken, row, reason = _record(lines, i, len(columns), delimiter)
        if reason == "unfinished":
            # The closing mark may be in the next block.
            if not final and len(lines) - i < MOST_LINES and end < LONGEST_FIELD * 4:
                rest = b"\n".join(lines[i:]) + b"\n" + rest
                break
            taken, reason = 1, "unbalanced_quote"
        if reason:
            bad.append(BadRow(line + i, reason, lines[i].decode("utf-8", "replace")))
        elif row:
            cells.append(row)
            numbers.append(line + i)
        i += taken
    return Rows(_frame(cells, columns), np.array(numbers, np.int64), tuple(bad), rest, line + i)


def _record(
    lines: Sequence[bytes], start: int, n: int, delimiter: str
) -> tuple[int, list[str], str]:
    """Return lines taken, cells, and why it is no row ("" for a row or a blank line)."""
    first = lines[start]
    if not first:
        return 1, [], ""
    text = b""
    for taken, piece in enumerate(lines[start : start + MOST_LINES], start=1):
        text = piece if taken == 1 else text + b"\n" + piece
        if taken > 1 and b'"' not in piece:
            continue
        if len(text) > LONGEST_FIELD:
            return 1, [], "unbalanced_quote"
        row = _cells(text.decode("utf-8", "replace"), delimiter)
        if row is None:
            continue
        if taken > 1 and len(row) != n:
            return 1, [], "unbalanced_quote"
        if not _decodes(text):
            return taken, [], "bad_encoding"
        if b"\0" in text:
            return taken, [], "nul_character"
        return (taken, [], "column_count") if len(row) != n else (taken, row, "")
    return 1, [], "unfinished" if start + MOST_LINES > len(lines) else "unbalanced_quote"


def _cells(text: str, delimiter: str) -> list[str] | None:
    """Return the cells of one record, None while a quotation mark is open."""
    if '"' not in text or len(delimiter) > 1:
        return text.split(delimiter)
    cells: list[str] = []
    at = 0
    while True:
        cell = ""
        if text.startswith('"', at):
            close = text.find('"', at + 1)
            while close >= 0 and text.startswith('"', close + 1):
                close = text.find('"', close + 2)
            if close < 0:
                return None
            cell, at = text[at + 1 : close].replace('""', '"'), close + 1
        end = text.find(delimiter, at)
        cells.append(cell + (text[at:] if end < 0 else text[at:end]))
        if end < 0:
            return cells
        at = end + len(delimiter)


def _frame(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> pl.DataFrame:
    cells = zip(*rows, strict=True) if rows else [()] * len(columns)
    return pl.DataFrame(
        {
            name: pl.Series([cell or None for cell in column], dtype=pl.String)
            for name, column in zip(columns, cells, strict=True)
        }
    )


def _shown(row: bytes, mark: bytes) -> str:
    text = row.decode("utf-8", "replace")
    return text.replace("\x1f", "::") if mark == b"\x1f" else text
