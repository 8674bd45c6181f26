"""What goes into a reader and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.events.readers.nested import Nested
from lifeloop.events.records import QuarantinedRow


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a file is to be understood.

    Attributes
    ----------
    mapping : our field -> the file's column, or its position counted from 0. Three forms are about
        values: ``type.view = "pv"`` (the file says pv for a view),
        ``occurred_at.format = "%d/%m/%Y"`` and ``value.decimal = ","``. ``date+time`` joins two
        columns; paths such as ``line_items[].sku`` reach into JSON.
    zone : IANA zone of times that carry none.
    source : name of the log; part of the ids of events that come without one, so that equal rows
        of one source are the same event whatever file they come in.
    default_type : type of events of a file that does not say it.
    batch_rows : most rows of one batch.
    currency : currency of events of a file that does not say it.
    types : the file's word for what happened -> ours.
    nested : paths into records, where rows are not flat.
    """

    mapping: Mapping[str, str] = field(default_factory=dict)
    zone: str = "UTC"
    source: str = "import"
    default_type: str | None = None
    batch_rows: int = 50_000
    currency: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    nested: Nested | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A piece of a file: sound rows as a frame, refused rows with their reasons.

    Attributes
    ----------
    frame : DataFrame with exactly the columns of the kind's schema.
    lines : int64 [n], the line (text) or row (Parquet) of each frame row, counted from 1.
    rejected : refused rows; ``len(frame) + len(rejected)`` rows were seen.
    notes : what was assumed, said once, with the first batch it concerns.
    bytes_read, bytes_total : how far the file is read, for a progress bar.
    """

    frame: pl.DataFrame
    lines: NDArray[np.int64]
    rejected: tuple[QuarantinedRow, ...] = ()
    notes: tuple[str, ...] = ()
    bytes_read: int = 0
    bytes_total: int = 0


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Rows under our field names with their values as they came, before they are judged.

    ``extras`` holds what is not ours, as one JSON object per row (null where there is none);
    ``exact`` names the times that are microseconds by their column's name (``occurred_us``).
    """

    frame: pl.DataFrame
    lines: NDArray[np.int64]
    extras: pl.Series | None = None
    rejected: tuple[QuarantinedRow, ...] = ()
    notes: tuple[str, ...] = ()
    bytes_read: int = 0
    exact: frozenset[str] = frozenset()
