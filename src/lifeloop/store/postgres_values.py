"""Values as PostgreSQL holds them: types, texts, rows of a read."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

SQL = {"String": "text", "Int64": "int8", "Int32": "int4", "Float64": "float8"}
SQL |= {"Boolean": "bool", "Binary": "bytea"}


def holdable(text: str) -> bool:
    """Return whether PostgreSQL can hold a text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def framed(rows: Sequence[Sequence[Any]], schema: Mapping[str, Any]) -> pl.DataFrame:
    """Return rows as a frame of a schema."""
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pl.DataFrame(
        [
            pl.Series(name, column, dtype=kind)
            for (name, kind), column in zip(schema.items(), columns, strict=True)
        ]
    )
