"""Streamed readers: a file of any size to batches of rows in our columns."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl

from lifeloop.errors import InputError, UnreadableFile
from lifeloop.events.fields import Kind
from lifeloop.events.ids import assign_event_ids
from lifeloop.events.problems import NO_ROWS
from lifeloop.events.readers.batch import Batch, RawBatch, ReadOptions
from lifeloop.events.readers.conform import SCHEMAS, conformed, judged
from lifeloop.events.readers.opening import format_of
from lifeloop.events.readers.table import Table, named
from lifeloop.events.seen import SeenRows


def read(path: str | Path, kind: Kind, *, options: ReadOptions | None = None) -> Iterator[Batch]:
    """Yield the rows of a file in batches; memory does not grow with the file.

    Parameters
    ----------
    path : path of a CSV (any usual delimiter, UTF-8, UTF-16, GB18030 or Latin-1), JSON lines or
        Parquet file; text may be gzipped.
    kind : "event" | "item" | "user"
    options : ReadOptions, optional

    Yields
    ------
    Batch
        At most ``options.batch_rows`` sound rows; events carry their ids.

    Raises
    ------
    UnreadableFile
        Missing bytes, damage or an unknown format. Rows before the break are yielded first.
        Its attribute ``reason`` says which: ``no_rows``, ``truncated_file``, ``corrupt_file``,
        ``unknown_format``, ``too_large``.
    InputError
        No such file; nothing identifies the rows; a mapping that does not fit.
    """
    options = options or ReadOptions()
    path = Path(path)
    if kind not in ("event", "item", "user"):
        raise InputError("unknown kind of rows", got=kind, allowed="event, item or user")
    total = path.stat().st_size if path.exists() else 0
    for batch in batches_of(raw_rows(path, kind, options=options), kind, options=options):
        yield replace(batch, bytes_total=total)


def raw_rows(path: Path, kind: Kind, *, options: ReadOptions) -> Iterator[RawBatch]:
    """Yield the rows of a file under our names, before they are judged. Raises as ``read``."""
    if format_of(path) == "json":
        from lifeloop.events.readers.jsonl import read_json

        return read_json(path, kind, options=options)
    if options.nested is not None:
        from lifeloop.events.readers.records import table_rows

        return table_rows(path, kind, options=options)
    return named(tables_of(path, kind, options=options), kind, options=options)


def rows_if_any(path: Path, kind: Kind, *, options: ReadOptions) -> Iterator[RawBatch]:
    """Yield as ``raw_rows``; a file of which no record is of this kind yields nothing."""
    try:
        yield from raw_rows(path, kind, options=options)
    except UnreadableFile as error:
        if getattr(error, "reason", None) != NO_ROWS:
            raise


def read_all(
    path: str | Path, kind: Kind, *, options: ReadOptions | None = None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return every row of a file at once, those that an import refuses too, and notes.

    Returns
    -------
    (DataFrame, notes)
        The kind's schema with ``line`` and ``refused`` (why an import refuses the row; null for
        a sound one). Rows that cannot be cut into cells are in it with nothing but these two.
    """
    options = options or ReadOptions()
    pieces: list[pl.DataFrame] = []
    notes: dict[str, None] = {}
    for raw in raw_rows(Path(path), kind, options=options):
        bad = pl.DataFrame(
            {"line": [r.line for r in raw.rejected], "refused": [r.reason for r in raw.rejected]},
            schema={"line": pl.Int64, "refused": pl.String},
        )
        if raw.frame.height:
            frame, why, said = judged(raw, kind, options=options)
            notes |= dict.fromkeys(said)
            told = pl.Series("refused", [None], dtype=pl.String).new_from_index(0, frame.height)
            sound = frame.with_columns(
                pl.Series("line", raw.lines), (told if why is None else why).alias("refused")
            )
            pieces.append(sound)
        if bad.height:
            pieces.append(bad)
    if not pieces:
        return pl.DataFrame(schema={**SCHEMAS[kind], "line": pl.Int64, "refused": pl.String}), ()
    return pl.concat(pieces, how="diagonal"), tuple(notes)


def tables_of(path: Path, kind: Kind, *, options: ReadOptions) -> Iterator[Table]:
    """Yield a table under the file's own column names. Raises ``InputError`` for JSON."""
    written = format_of(path)
    if written == "parquet":
        from lifeloop.events.readers.parquet import parquet_tables

        return parquet_tables(path, options=options)
    if written == "json":
        raise InputError("JSON is not a table", got=str(path), allowed="CSV or Parquet")
    from lifeloop.events.readers.delimited import delimited_tables

    return delimited_tables(path, kind, options=options)


def batches_of(raws: Iterator[RawBatch], kind: Kind, *, options: ReadOptions) -> Iterator[Batch]:
    """Yield raw rows as sound frames of bounded size, events with their ids."""
    said: set[str] = set()
    with SeenRows() as seen:
        for raw in raws:
            for piece in _sliced(raw, options.batch_rows):
                batch = conformed(piece, kind, options=options)
                frame = batch.frame
                if kind == "event":
                    frame = assign_event_ids(frame, source=options.source, seen=seen)
                notes = tuple(note for note in batch.notes if note not in said)
                said.update(notes)
                yield replace(batch, frame=frame, notes=notes)


def _sliced(raw: RawBatch, rows: int) -> Iterator[RawBatch]:
    if raw.frame.height <= rows:
        yield raw
        return
    for at in range(0, raw.frame.height, rows):
        yield RawBatch(
            raw.frame[at : at + rows],
            raw.lines[at : at + rows],
            None if raw.extras is None else raw.extras[at : at + rows],
            raw.rejected if at == 0 else (),
            raw.notes if at == 0 else (),
            raw.bytes_read,
            raw.exact,
        )
