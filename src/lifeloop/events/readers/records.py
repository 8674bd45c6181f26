"""Tables read as records, for exports whose cells hold JSON or whose rows lean on the row above."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from lifeloop.events.fields import Kind
from lifeloop.events.readers.batch import RawBatch, ReadOptions
from lifeloop.events.readers.jsonl import record_rows
from lifeloop.events.readers.table import Table
from lifeloop.events.records import QuarantinedRow


def table_rows(path: Path, kind: Kind, *, options: ReadOptions) -> Iterator[RawBatch]:
    """Yield a table's rows through the paths of ``options.nested``."""
    from lifeloop.events.readers.reading import tables_of

    nested = options.nested
    tables = tables_of(path, kind, options=options)
    if nested is not None and nested.fill_down is not None:
        tables = _filled_down(tables, *nested.fill_down)
    bad: list[QuarantinedRow] = []

    def records() -> Iterator[tuple[int, dict[str, Any], int]]:
        for table in tables:
            bad.extend(
                QuarantinedRow(
                    kind=kind, reason=b.reason, raw={"line": b.text}, source=options.source,
                    line=b.line,
                )
                for b in table.bad
            )  # fmt: skip
            for line, row in zip(
                table.lines.tolist(), table.frame.iter_rows(named=True), strict=True
            ):
                yield line, row, table.bytes_read

    for batch in record_rows(records(), kind, options=options, path=path):
        yield replace(batch, rejected=batch.rejected + tuple(bad))
        bad.clear()


def _filled_down(tables: Iterator[Table], key: str, columns: tuple[str, ...]) -> Iterator[Table]:
    """Repeat an order's facts on the rows of the same order that follow its first."""
    last: pl.DataFrame | None = None
    for table in tables:
        frame = table.frame
        names = [c for c in columns if c in frame.columns]
        if not frame.height or key not in frame.columns or not names:
            yield table
            continue
        carried = frame if last is None else pl.concat([last, frame], how="vertical_relaxed")
        run = pl.col(key).forward_fill().rle_id()
        filled = carried.with_columns(pl.col(names).forward_fill().over(run))
        last = filled.tail(1)
        yield replace(table, frame=filled.tail(frame.height))
