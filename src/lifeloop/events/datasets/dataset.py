"""A data set: files with the options to read them, and what has to be said about it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from lifeloop.events.fields import Kind
from lifeloop.events.readers import ReadOptions


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a data set, ready for ``read(path, kind, options=options)``."""

    kind: Kind
    path: Path
    options: ReadOptions = field(default_factory=ReadOptions)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Files in the order in which they are to be imported.

    ``zone`` is where the days of this data begin; ``notes`` is what a reader of any result must
    know; ``links`` are files whose rows say which ``anonymous_id`` is which ``user_id``.
    """

    name: str
    scenario: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()
    zone: str = "UTC"
    links: tuple[Part, ...] = ()


def written(frame: pl.DataFrame, path: Path) -> Path:
    """Write a frame as Parquet, making the folder; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
    return path


def options_of(
    mapping: Mapping[str, str] | None = None,
    *,
    source: str,
    default_type: str | None = None,
    zone: str = "UTC",
    currency: str | None = None,
) -> ReadOptions:
    """Return read options with a source of their own, so that two data sets never collide."""
    return ReadOptions(
        mapping=mapping or {},
        zone=zone,
        source=source,
        default_type=default_type,
        currency=currency,
    )


def named_columns(lines: Iterable[str], names: tuple[str, ...], mark: str) -> pl.DataFrame:
    """Return lines split at ``mark`` as text columns; the last one keeps what is left over."""
    rows = [line.split(mark, len(names) - 1) for line in lines if line.strip()]
    return pl.DataFrame(
        {
            name: pl.Series(
                [row[i].strip() if i < len(row) else "" for row in rows], dtype=pl.String
            )
            for i, name in enumerate(names)
        }
    )
