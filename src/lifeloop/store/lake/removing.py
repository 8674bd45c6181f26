"""What a removal from the store means for the files of the lake."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lifeloop.store.lake.manifest import Part


@dataclass(frozen=True, slots=True)
class Removal:
    """One removal: rows by number (an erasure), or events before a time (retention)."""

    id: int
    gone: list[tuple[int, int]]
    changed: list[tuple[int, int]]
    before_us: int | None

    @classmethod
    def of(cls, number: int, body: Mapping[str, Any]) -> "Removal":
        """Return the removal that the store recorded."""
        return cls(
            id=number,
            gone=[(a, b) for a, b in body.get("gone", [])],
            changed=[(a, b) for a, b in body.get("changed", [])],
            before_us=body.get("before_us"),
        )

    def touches(self, part: Part) -> bool:
        """Return whether a file may hold a row that goes or changes."""
        if part.table == "superseded":
            return bool(self.gone)
        if part.table == "events" and self.before_us is not None:
            return True
        spans = self.gone + (self.changed if part.table == "events" else [])
        return any(a <= part.last and b >= part.first for a, b in spans)


def without(frame: pl.DataFrame, removal: Removal, fresh: pl.DataFrame | None) -> pl.DataFrame:
    """Return the rows of a file that stay; ``fresh`` are changed events as they are now."""
    gone = pl.col("seq").is_in(numbers(removal.gone).implode())
    if removal.before_us is not None and "t_us" in frame.columns:
        at = pl.coalesce("t_us", "received_us")
        gone = gone | (at < removal.before_us)
    left = frame.filter(~gone)
    if fresh is None or not fresh.height:
        return left
    mine = fresh.join(left.select("seq"), on="seq", how="semi")
    return pl.concat([left.join(mine, on="seq", how="anti"), mine]).sort("seq")


def numbers(spans: list[tuple[int, int]]) -> pl.Series:
    """Return the sequence numbers that inclusive ranges stand for [n]."""
    each = [np.arange(a, b + 1, dtype=np.int64) for a, b in spans]
    return pl.Series("seq", np.concatenate([np.empty(0, np.int64), *each]))
