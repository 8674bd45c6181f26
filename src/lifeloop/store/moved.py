"""Versions that come from another store: those held already are skipped, none is put over a newer.

A version is known by its id, its content, its moment of arrival, and which of several such it is:
an attribute that went from A to B and back to A has three versions, and reading the same export
again must add none of them.
"""

from functools import cache
from typing import Any

import polars as pl
import sqlalchemy as sa

from lifeloop.store.backend import Backend

MOVED = {
    "received_us": pl.Int64,
    "nth": pl.Int64,
    "after_us": pl.Int64,
    "after": pl.String,
}
"""What a version brings along: its arrival, which of equal ones it is (1, 2, …), and the arrival
and content (hex) of the version before it, null for the first."""

OLDER = "older_version"
"""Why a version is refused that arrived before the newest one held, and does not follow it."""


def without_known(
    backend: Backend,
    con: sa.Connection,
    table: sa.Table,
    key: str,
    rows: pl.DataFrame,
    why: pl.Series,
) -> tuple[pl.DataFrame, pl.Series]:
    """Take the versions that are held, and those that are older, out of ``rows``.

    ``rows`` are those where ``why`` is null; the older ones are told in it.
    """
    held: dict[tuple[str, bytes, int], int] = {}
    newest: dict[str, tuple[int, bytes]] = {}
    values = {"ids": backend.packed(rows[key].unique().to_list())}
    for name, content, at_us in backend.fetch(con, _versions(table, key, backend.listed), values):
        row = (str(name), bytes(content), int(at_us))
        held[row] = held.get(row, 0) + 1
        newest[row[0]] = (row[2], row[1])
    keep, late = [], []
    columns = (key, "content", "received_us", "nth", "after_us", "after")
    for name, content, at_us, nth, after_us, after in rows.select(columns).iter_rows():
        known = held.get((name, content, at_us), 0) >= (nth or 1)
        last = newest.get(name)
        before = None if after is None else (after_us, bytes.fromhex(after))
        follows = last is None or at_us >= last[0] or last in (before, (last[0], content))
        keep.append(follows and not known)
        late.append(not follows and not known)
        if keep[-1] and (last is None or content != last[1]):
            newest[name] = (at_us, content)
    at = why.is_null().arg_true().filter(pl.Series(late, dtype=pl.Boolean))
    told = why.scatter(at, [OLDER] * len(at)) if len(at) else why
    return rows.filter(pl.Series(keep, dtype=pl.Boolean)), told


@cache
def _versions(table: sa.Table, key: str, listed: sa.Select[Any]) -> sa.Select[Any]:
    query = sa.select(table.c[key], table.c.content, table.c.received_us)
    return query.where(table.c[key].in_(listed)).order_by(table.c.seq)
