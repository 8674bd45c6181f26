"""The lake: everything the store learned as Parquet, by local day, on a disk or an object store."""

from lifeloop.store.lake.lake import Lake
from lifeloop.store.lake.written import write_snapshot

__all__ = ["Lake", "write_snapshot"]
