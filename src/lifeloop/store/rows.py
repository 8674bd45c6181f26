"""The border: frames get exactly the columns of a schema, and rows that cannot be kept are told.

What the store refuses here is what no caller should send (the readers of ``events`` refuse it
earlier, with better words); it goes to quarantine like every refused row.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from lifeloop.contracts import Reason
from lifeloop.errors import InputError

LINE = "line"
"""Optional column of a frame handed to the store: the line of the caller's file."""

_SHOWN = 20  # line numbers kept per reason, as in IngestReport


def conformed(
    frame: pl.DataFrame, schema: Mapping[str, Any], *, optional: Mapping[str, Any]
) -> pl.DataFrame:
    """Return ``frame`` with exactly the columns of both schemas and a ``line``.

    Raises
    ------
    InputError
        If columns are missing, unknown or of a type that cannot be cast without loss.
    """
    allowed = {**schema, **optional, LINE: pl.Int64}
    missing = [name for name in schema if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in allowed]
    if missing or unknown:
        raise InputError(
            "the frame does not have the columns that the store keeps",
            got=f"missing {missing}, unknown {unknown}",
            allowed=", ".join(allowed),
        )
    absent = [pl.lit(None, dtype=kind).alias(n) for n, kind in optional.items() if n not in frame]
    if LINE not in frame.columns:
        absent.append(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias(LINE))
    frame = frame.with_columns(absent) if absent else frame
    try:
        return frame.select(pl.col(name).cast(kind) for name, kind in allowed.items())
    except pl.exceptions.PolarsError as error:
        raise InputError(f"a column has values of another type ({error})") from None


def refused(frame: pl.DataFrame, rules: Mapping[str, pl.Expr]) -> pl.Series:
    """Return the first rule that each row breaks, null for sound rows."""
    told = pl.coalesce(
        *(pl.when(broken).then(pl.lit(reason)) for reason, broken in rules.items()),
        pl.lit(None, dtype=pl.String),
    )
    return frame.select(told.alias("reason")).to_series()


def not_finite(schema: Mapping[str, Any]) -> pl.Expr:
    """Return the rule of numbers that are not numbers; absent ones are null, never NaN."""
    names = [name for name, kind in schema.items() if kind == pl.Float64]
    return pl.any_horizontal(~pl.col(names).is_finite()).fill_null(False)


def holds_nul(schema: Mapping[str, Any]) -> pl.Expr:
    """Return the rule of texts with a NUL character, which PostgreSQL cannot hold."""
    names = [name for name, kind in schema.items() if kind == pl.String]
    return pl.any_horizontal(pl.col(names).str.contains("\0", literal=True)).fill_null(False)


def too_long(names: Sequence[str], longest: int | None) -> dict[str, pl.Expr]:
    """Return the rule of ids that have more bytes than the database can index, if it has one."""
    if longest is None:
        return {}
    sizes = pl.col(list(names)).str.len_bytes()
    return {"id_too_long": pl.any_horizontal(sizes > longest).fill_null(False)}


def reasons(frame: pl.DataFrame, column: pl.Series) -> tuple[Reason, ...]:
    """Return one ``Reason`` per distinct value of ``column``, with the first lines of each."""
    told = frame.select(LINE).with_columns(column.alias("reason")).drop_nulls("reason")
    grouped = told.group_by("reason", maintain_order=True).agg(
        pl.len().alias("n"), pl.col(LINE).head(_SHOWN)
    )
    return tuple(Reason(why, n, tuple(lines)) for why, n, lines in grouped.iter_rows())


def digest(parts: Sequence[str | None]) -> bytes:
    """Return 128 bits over texts, with None apart from the empty text and no ambiguity."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = b"" if part is None else part.encode()
        state.update(b"-" if part is None else b"%d:" % len(raw))
        state.update(raw)
    return state.digest()
