"""CSV and its relatives, streamed."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl

from lifeloop.errors import UnreadableFile
from lifeloop.events.fields import Kind
from lifeloop.events.problems import NO_ROWS, refusal
from lifeloop.events.readers.batch import ReadOptions
from lifeloop.events.readers.opening import Block, text_blocks
from lifeloop.events.readers.rows import Rows, cut_rows
from lifeloop.events.readers.sniff import Dialect, sniff
from lifeloop.events.readers.table import Table

_SAMPLE = 100
LONGEST_LINE = 64 << 20


def delimited_tables(path: Path, kind: Kind, *, options: ReadOptions) -> Iterator[Table]:
    """Yield a text table block by block, the first block perhaps without rows.

    Raises
    ------
    UnreadableFile
        After the complete rows before the break: a truncated archive.
    """
    blocks = text_blocks(path)
    head, broken = _head(blocks)
    if b"\r" in head.data and b"\n" not in head.data:  # old Macintosh files
        head = _newlined(head)
        blocks = map(_newlined, blocks)
    lines = _first_lines(head.data, complete=broken is None)
    if not lines:
        raise broken or refusal(
            UnreadableFile("the file holds no rows", got=str(path), hint="export it again"), NO_ROWS
        )
    dialect = sniff(lines, kind, options.mapping)
    data, line = _after_header(head.data, dialect)
    empty = pl.DataFrame(schema=dict.fromkeys(dialect.columns, pl.String))
    yield Table(empty, np.empty(0, np.int64), (), dialect.header, head.bytes_read)
    for block, rows in _cut(chain([Block(data, head.bytes_read)], blocks), dialect, line, broken):
        yield Table(rows.frame, rows.lines, rows.bad, dialect.header, block.bytes_read)


def _cut(
    blocks: Iterator[Block], dialect: Dialect, line: int, broken: UnreadableFile | None
) -> Iterator[tuple[Block, Rows]]:
    """Yield whole rows block by block; a break in the file is raised after the rows before it."""
    rest = b""
    block = Block(b"", 0)
    failure = broken
    try:
        for block in blocks:
            rows = cut_rows(
                rest + block.data, dialect.columns, dialect.delimiter, line=line, final=False
            )
            rest, line = rows.rest, rows.next_line
            if len(rest) > LONGEST_LINE:
                raise UnreadableFile(
                    f"line {line} is longer than {LONGEST_LINE >> 20} MB",
                    allowed="a table with one row per line",
                    hint="check what the file is; a JSON array must begin with [",
                )
            if rows.frame.height or rows.bad:
                yield block, rows
    except UnreadableFile as error:
        failure = error
    if failure is None and rest:
        rows = cut_rows(rest, dialect.columns, dialect.delimiter, line=line, final=True)
        if rows.frame.height or rows.bad:
            yield block, rows
    elif failure is not None and b"\n" in rest:
        whole = rest[: rest.rfind(b"\n") + 1]
        rows = cut_rows(whole, dialect.columns, dialect.delimiter, line=line, final=True)
        yield block, rows
    if failure is not None:
        raise failure


def _head(blocks: Iterator[Block]) -> tuple[Block, UnreadableFile | None]:
    """Return enough of the file to see how it is written, and how it breaks where it does."""
    data, read = b"", 0
    try:
        for block in blocks:
            data, read = data + block.data, block.bytes_read
            if data.count(b"\n") > 1 or len(data) > LONGEST_LINE:
                break
    except UnreadableFile as error:
        return Block(data, read), error
    return Block(data, read), None


def _newlined(block: Block) -> Block:
    return Block(block.data.replace(b"\r", b"\n"), block.bytes_read)


def _first_lines(data: bytes, *, complete: bool) -> list[str]:
    text = data[: 1 << 20].decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if len(lines) > 1 and (len(data) > 1 << 20 or not complete):
        lines = lines[:-1]  # may be cut in the middle
    return [line for line in lines if line.strip()][:_SAMPLE]


def _after_header(data: bytes, dialect: Dialect) -> tuple[bytes, int]:
    if not dialect.header:
        return data, 1
    line, at = 1, 0
    while at < len(data):
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        blank = not data[at:end].strip(b"\r \t")
        at, line = end + 1, line + 1
        if not blank:
            break
    return data[at:], line
