"""Streamed readers: a file of any size to batches of rows in our columns."""

from lifeloop.events.readers.batch import Batch, ReadOptions
from lifeloop.events.readers.reading import batches_of, read, read_all, tables_of

__all__ = ["Batch", "ReadOptions", "batches_of", "read", "read_all", "tables_of"]
