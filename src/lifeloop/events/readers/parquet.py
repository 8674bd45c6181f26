"""Parquet, read in batches of bounded size."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from lifeloop.errors import UnreadableFile
from lifeloop.events.problems import refusal
from lifeloop.events.readers.batch import ReadOptions
from lifeloop.events.readers.table import Table


def parquet_tables(path: Path, *, options: ReadOptions) -> Iterator[Table]:
    """Yield a Parquet file in batches, the first one without rows.

    Raises
    ------
    UnreadableFile
        The file is damaged; batches before the damage come first.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = path.stat().st_size
    try:
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None
    with file:
        total = max(file.metadata.num_rows, 1)
        empty = file.schema_arrow.empty_table()
        yield Table(pl.DataFrame(pl.from_arrow(empty)), np.empty(0, np.int64))
        row = 1
        try:
            for piece in file.iter_batches(options.batch_rows, use_threads=False):
                frame = pl.DataFrame(pl.from_arrow(pa.Table.from_batches([piece])))
                lines = np.arange(row, row + frame.height, dtype=np.int64)
                row += frame.height
                yield Table(frame, lines, bytes_read=size * (row - 1) // total)
        except (pa.ArrowException, OSError, pl.exceptions.PolarsError) as error:
            raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UnreadableFile:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return refusal(
        UnreadableFile(
            f"the Parquet file is damaged ({first})",
            got=str(path),
            allowed="a complete Parquet file",
            hint="copy or export the file again; rows that are stored stay stored",
        ),
        "corrupt_file",
    )
