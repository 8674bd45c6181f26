"""Identifiers: which are refused, and the id of an event that comes without one.

Ids are opaque and never changed: ``007``, ``a/b``, ``用户;1``, emoji and 300 characters are
all fine. A user's id that is only a placeholder is refused, because everyone behind it would
become one person.
"""

from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.events.canonical import CONTENT, canonical_rows
from lifeloop.events.records import ANONYMOUS_PREFIX
from lifeloop.events.seen import SeenRows

Digests = NDArray[np.uint8]  # [n, 16]

PLACEHOLDERS = ("null", "undefined", "anonymous", "0", "none", "nan")
"""Refused as the id of a person, in any case and with any space around."""

ITEM_PLACEHOLDERS = ("null", "undefined", "none", "nan")
"""Refused as the id of an item; an item ``0`` is fine."""

LONGEST = 1024

_ORDER_KEY = ("type", "order_id", "line_id")
_ITEM_KEY = ("type", "order_id", "item_id")
_ORIGIN = "\x1esource\x1f"


def id_problem(value: str, *, person: bool) -> str | None:
    """Return why a non-empty id is refused, or None.

    Examples
    --------
    >>> id_problem("NULL ", person=True), id_problem("0", person=False)
    ('placeholder_id', None)
    """
    if value.strip().lower() in (PLACEHOLDERS if person else ITEM_PLACEHOLDERS):
        return "placeholder_id"
    if len(value) > LONGEST:
        return "id_too_long"
    if person and value.startswith(ANONYMOUS_PREFIX):
        return "reserved_prefix"
    return None


def id_problems(values: pl.Series, *, person: bool) -> pl.Series:
    """Return ``id_problem`` of every id, null for sound and for absent ones [n]."""
    bare = values.str.strip_chars().str.to_lowercase()
    words = list(PLACEHOLDERS if person else ITEM_PLACEHOLDERS)
    reserved = values.str.starts_with(ANONYMOUS_PREFIX) if person else pl.lit(False)
    return pl.select(
        pl.when(bare.is_in(words))
        .then(pl.lit("placeholder_id"))
        .when(values.str.len_chars() > LONGEST)
        .then(pl.lit("id_too_long"))
        .when(reserved)
        .then(pl.lit("reserved_prefix"))
        .otherwise(None)
        .alias(values.name)
    ).to_series()


def assign_event_ids(frame: pl.DataFrame, *, source: str, seen: SeenRows) -> pl.DataFrame:
    """Give an id to every event that has none.

    A plain row: blake2b-128(source, content, ordinal among identical rows of the file).
    An order line: blake2b-128(source, type, order_id, line_id), or without a line_id
    (source, type, order_id, item_id, ordinal within the order); value, quantity and time stay
    out of it, so that a changed line comes back under the same id with other content, which the
    store keeps as a new version. Lines of one order and item are numbered in the order of their
    content within a batch, so shuffling a file changes no id.

    The same file twice stores nothing new, and five identical rows of one file are five events.
    ``source`` is "import" unless the caller names another, so overlapping exports of one log
    deduplicate; files that are different logs with equal rows need different sources.

    Parameters
    ----------
    frame : DataFrame
        With the columns of ``EVENT_SCHEMA``; an ``event_id`` that is given stays.
    source : str
        Name of the log.
    seen : SeenRows
        Counts of the earlier batches of the same file; this batch is added.
    """
    without = frame["event_id"].is_null() | (frame["event_id"] == "").fill_null(False)
    if not without.any():
        return frame
    rows = frame if without.all() else frame.filter(without)
    ids = _ids(rows, f"{_ORIGIN}{source}", seen).tobytes().hex()
    texts = pl.Series([ids[i : i + 32] for i in range(0, len(ids), 32)], dtype=pl.String)
    if without.all():
        return frame.with_columns(texts.alias("event_id"))
    filled = frame["event_id"].scatter(without.arg_true(), texts)
    return frame.with_columns(filled.alias("event_id"))


def _ids(rows: pl.DataFrame, origin: str, seen: SeenRows) -> Digests:
    contents = _digests(canonical_rows(rows, CONTENT), origin)
    named = rows["order_id"].is_not_null()
    if not named.any():
        return _numbered(contents, seen)
    lined = named & rows["line_id"].is_not_null()
    ids = np.empty_like(contents)
    for mask, columns in ((~named, None), (lined, _ORDER_KEY), (named & ~lined, _ITEM_KEY)):
        at = np.flatnonzero(mask.to_numpy())
        if not len(at):
            continue
        if columns is None:
            ids[at] = _numbered(contents[at], seen)
            continue
        keys = _digests(canonical_rows(rows.filter(mask), columns), f"{origin}\x1eline")
        ids[at] = keys if columns is _ORDER_KEY else _numbered(keys, seen, by=contents[at])
    return ids


def _digests(rows: pl.Series, origin: str) -> Digests:
    joined = b"".join(
        [blake2b(f"{origin}{row}".encode(), digest_size=16).digest() for row in rows.to_list()]
    )
    return np.frombuffer(joined, np.uint8).reshape(-1, 16).copy()  # [n, 16]


def _numbered(keys: Digests, seen: SeenRows, *, by: Digests | None = None) -> Digests:
    """Tell equal keys apart by their ordinal, the first one keeping its key [n, 16]."""
    short = _leading(keys)
    order = np.lexsort((short,) if by is None else (_leading(by), short))
    ordered = short[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[starts, len(ordered)])
    ordinal = np.empty(len(keys), np.int64)
    ordinal[order] = np.arange(len(keys)) - np.repeat(starts, sizes)
    ordinal += seen.count(short)
    seen.add(short)
    ids = keys.copy()
    for row in np.flatnonzero(ordinal):
        again = keys[row].tobytes() + int(ordinal[row]).to_bytes(8, "little")
        ids[row] = np.frombuffer(blake2b(again, digest_size=16).digest(), np.uint8)
    return ids


def _leading(keys: Digests) -> NDArray[np.uint64]:
    return np.ascontiguousarray(keys[:, :8]).view("<u8").ravel().astype(np.uint64)  # [n]
