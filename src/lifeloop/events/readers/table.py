"""A piece of a table under the file's own column names, and the step to ours."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.errors import InputError
from lifeloop.events.fields import Columns, Kind, plan_columns
from lifeloop.events.problems import NO_ROWS, refusal
from lifeloop.events.readers.batch import RawBatch, ReadOptions
from lifeloop.events.readers.datetimes import joined_columns, with_moment
from lifeloop.events.readers.leftovers import json_objects
from lifeloop.events.readers.rows import BadRow
from lifeloop.events.records import QuarantinedRow


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under the file's column names; ``header`` False: the names are positions."""

    frame: pl.DataFrame
    lines: NDArray[np.int64]
    bad: tuple[BadRow, ...] = ()
    header: bool = True
    bytes_read: int = 0


def named(tables: Iterator[Table], kind: Kind, *, options: ReadOptions) -> Iterator[RawBatch]:
    """Yield tables under our field names; every table of a file has the same columns.

    Raises
    ------
    InputError
        No column identifies the rows; a mapping does not fit the file.
    """
    plan: Columns | None = None
    rows = read = 0
    notes: tuple[str, ...] = ()
    settled = False
    for table in tables:
        table = replace(table, frame=joined_columns(table.frame, list(options.mapping.values())))
        if plan is None:
            plan = _planned(table, kind, options)
            notes = plan.notes
            if not table.header:
                notes += ("the first row is read as data, not as a header",)
        if table.frame.height:
            if not settled and kind == "event":
                told = with_moment(plan, table.frame, mapped="occurred_at" in options.mapping)
                notes = told.notes if told is not plan else notes
                plan, settled = told, True
            table = replace(table, frame=joined_columns(table.frame, list(plan.fields.values())))
        rows += table.frame.height + len(table.bad)
        read = table.bytes_read
        if table.frame.height or table.bad:
            yield _raw(table, plan, kind, options, notes)
            notes = ()
    if plan is not None and not rows:
        yield RawBatch(
            pl.DataFrame(schema=dict.fromkeys(plan.fields, pl.String)),
            np.empty(0, np.int64),
            notes=(*notes, f"{NO_ROWS}: the file names its columns and holds no rows"),
            bytes_read=read,
        )


def _raw(
    table: Table, plan: Columns, kind: Kind, options: ReadOptions, notes: tuple[str, ...]
) -> RawBatch:
    bad = tuple(
        QuarantinedRow(
            kind=kind, reason=b.reason, raw={"line": b.text}, source=options.source, line=b.line
        )
        for b in table.bad
    )
    frame = table.frame
    return RawBatch(
        frame.select(**{ours: pl.col(theirs) for ours, theirs in plan.fields.items()}),
        table.lines,
        _extras(frame, plan),
        bad,
        notes,
        table.bytes_read,
        frozenset(ours for ours, theirs in plan.fields.items() if theirs.endswith("_us")),
    )


def _extras(frame: pl.DataFrame, plan: Columns) -> pl.Series | None:
    """The columns that are not ours; a unit price too, because events only keep the value."""
    kept = [pl.col(name) for name in plan.extras]
    if (column := plan.fields.get("unit_price")) is not None:
        kept.append(pl.col(column).cast(pl.Float64, strict=False).alias("unit_price"))
    return json_objects(frame.select(kept)) if kept else None


def _planned(table: Table, kind: Kind, options: ReadOptions) -> Columns:
    columns = table.frame.columns
    try:
        return plan_columns(columns, kind, options.mapping)
    except InputError as error:
        if table.header or vars(error).get("reason") != "missing_column":
            raise
        raise refusal(
            InputError(
                "the file has no header, so its columns must be named by position",
                got=f"{len(columns)} columns",
                hint="--map user_id=0 --map item_id=1 … (positions count from 0)",
            ),
            "missing_column",
        ) from None
