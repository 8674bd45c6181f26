"""One text per row that is the same for the same content, on every platform and version.

Fields are written in the order of ``EVENT_SCHEMA`` with their names and absent ones left out,
so that a column added to the schema later changes nothing; numbers are written by their bits,
so that no library's way of printing a float matters.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import polars as pl

from lifeloop.events.records import EVENT_SCHEMA

CONTENT = tuple(n for n in EVENT_SCHEMA if n not in ("event_id", "sent_us", "source"))
"""What an event says, without its name, its way of transport and its origin."""

_FIELD, _NAME, _ESCAPE = "\x1e", "\x1f", "\x1b"


def content_hash(frame: pl.DataFrame) -> pl.Series:
    """Return the content of each event as a hex hash (blake2b, 128 bits) [n].

    Equal hash and equal ``event_id``: a duplicate. Equal id, other hash: a conflict or, for an
    order line, a new version. ``event_id``, ``sent_us``, ``received_us`` and ``source`` are not
    part of it.

    Parameters
    ----------
    frame : DataFrame
        With the columns of ``EVENT_SCHEMA``; others are ignored.
    """
    rows = canonical_rows(frame, CONTENT).to_list()
    hashed = [blake2b(row.encode(), digest_size=16).hexdigest() for row in rows]
    return pl.Series("content", hashed, dtype=pl.String)


def canonical_rows(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Return one text per row over ``columns``; rows are equal where the texts are [n]."""
    pieces = [
        pl.concat_str(pl.lit(f"{_FIELD}{name}{_NAME}"), _text(frame[name]).alias("value"))
        for name in columns
        if frame[name].null_count() < frame.height
    ]
    if not pieces:
        return pl.Series([""] * frame.height, dtype=pl.String)
    return pl.select(pl.concat_str(pieces, ignore_nulls=True).alias("canonical")).to_series()


def _text(values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        return _escaped(values)
    if values.dtype.is_float():
        absent = values.is_null()
        bits = (values.cast(pl.Float64).fill_null(0.0) + 0.0).to_numpy().view(np.int64)
        text = pl.Series(values.name, np.ascontiguousarray(bits)).cast(pl.String)
        return pl.select(pl.when(~absent).then(text)).to_series()
    if values.dtype == pl.Boolean:
        values = values.cast(pl.Int8)
    return values.cast(pl.Int64).cast(pl.String)


def _escaped(values: pl.Series) -> pl.Series:
    if not values.str.contains("[\x1b\x1e\x1f]").any():
        return values
    for character in (_ESCAPE, _FIELD, _NAME):
        code = f"{_ESCAPE}{ord(character):02x}"
        values = values.str.replace_all(character, code, literal=True)
    return values
