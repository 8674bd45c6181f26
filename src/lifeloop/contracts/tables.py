"""A table as every caller gets it: rows, what the columns mean, and what to know about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

import polars as pl

ColumnKind = Literal["text", "date", "integer", "number", "share", "money", "boolean"]
"""How a column is read: ``share`` is 0 to 1, ``money`` is in the table's currency."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name in data, how to read it, and its words for a person."""

    name: str
    kind: ColumnKind
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A named table. No NaN and no infinity is ever in ``rows``; what is unknown is null.

    ``reason`` says why there are no rows although the question was right; ``notes`` are sentences
    for a person (left truncation, incomplete periods, small cells); ``facts`` hold what the table
    was computed with (zone, grain, as_of …).
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: pl.DataFrame
    notes: tuple[str, ...] = ()
    reason: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in self.rows.schema.items():
            if kind.is_float() and not self.rows[name].drop_nulls().is_finite().all():
                raise ValueError(f"table {self.name!r}: column {name!r} holds NaN or infinity")

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as mappings that JSON can hold: dates as ISO text."""
        return [
            {name: _plain(value) for name, value in row.items()}
            for row in self.rows.iter_rows(named=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the whole table as one JSON object."""
        return {
            "name": self.name,
            "title": self.title,
            **self.facts,
            "columns": [{"name": c.name, "kind": c.kind, "label": c.label} for c in self.columns],
            "rows": self.records(),
            "reason": self.reason,
            "notes": list(self.notes),
        }


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else value
