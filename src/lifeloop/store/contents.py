"""What "the same content" means for a version of a user or an item."""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from lifeloop.store.rows import digest


def row_contents(frame: pl.DataFrame) -> pl.Series:
    """Return one hex hash per row over all its columns, absent values left out."""
    hashes = [digest([_canonical(row)]).hex() for row in frame.iter_rows(named=True)]
    return pl.Series("content", hashes, dtype=pl.String)


def _canonical(row: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in row.items() if value is not None}
    return json.dumps(kept, ensure_ascii=False, sort_keys=True)
