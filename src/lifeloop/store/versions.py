"""Users and items: every change is a new version, reads take the one known at ``seq``."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import polars as pl
import sqlalchemy as sa

from lifeloop.contracts import IngestReport, QuarantinedRow, Repair
from lifeloop.events.canonical import canonical_rows
from lifeloop.events.records import ITEM_SCHEMA, USER_SCHEMA, Item, User
from lifeloop.store import clock, quarantine
from lifeloop.store.backend import LAST, Backend, bound
from lifeloop.store.moved import MOVED, OLDER, without_known
from lifeloop.store.repairing import settle
from lifeloop.store.rows import LINE, conformed, holds_nul, not_finite, reasons, refused, too_long
from lifeloop.store.tables import items, users
from lifeloop.store.tombstones import erased_of, marked

TOLD_UP_TO = 10_000
"""Rows of one write whose outcome is told one by one."""

_JSON = ("consent", "attributes")
_AT = "_at"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of versioned record: where it lives and which column names it."""

    name: str
    table: sa.Table
    key: str
    schema: Mapping[str, Any]
    record: type[User] | type[Item]


USERS = Kind("user", users, "user_id", USER_SCHEMA, User)
ITEMS = Kind("item", items, "item_id", ITEM_SCHEMA, Item)


def put(
    backend: Backend,
    kind: Kind,
    frame: pl.DataFrame,
    *,
    received_us: int,
    repairs: Sequence[Repair] = (),
) -> IngestReport:
    """Append a version per row that says something new; the last row of an id stands.

    ``repairs``, one per row, leave quarantine with this write. Rows with the columns ``MOVED``
    come from another store: see ``moved.py``.
    """
    if not frame.height:
        return IngestReport()
    moved = all(name in frame.columns for name in MOVED)
    given = conformed(frame, kind.schema, optional=MOVED if moved else {})
    rows, faults = _canonical(given, kind)
    rules = {
        f"missing_{kind.key}": pl.col(kind.key).fill_null("") == "",
        "bad_number": not_finite(kind.schema),
        "nul_character": holds_nul(kind.schema),
        "bad_json": pl.lit(faults),
        **too_long([kind.key], backend.longest_key),
    }
    why = refused(rows, rules)
    seen, rows = rows, rows.with_row_index(_AT).filter(why.is_null())
    texts = canonical_rows(rows, list(kind.schema))
    contents = [blake2b(text.encode(), digest_size=16).digest() for text in texts]
    rows = rows.with_columns(pl.Series("content", contents, dtype=pl.Binary))
    with backend.write() as con:
        lost = why.is_not_null()
        if kind is USERS:
            people = rows["user_id"]
            gone = erased_of(backend, con, users=people.unique(), visitors=()).users
            why = marked(why, people.is_in(list(gone)))
            rows = rows.filter(~people.is_in(list(gone)))
        if moved:
            rows, why = without_known(backend, con, kind.table, kind.key, rows, why)
            lost = lost | (why == OLDER).fill_null(value=False)
        new = _changed(backend, con, kind, rows)
        before = clock.take(con, new.height)
        seqs = np.arange(before + 1, before + 1 + new.height, dtype=np.int64)
        arrived = pl.col("received_us") if moved else pl.lit(None, dtype=pl.Int64)
        new = new.with_columns(
            pl.Series("seq", seqs), arrived.fill_null(received_us).alias("received_us")
        )
        backend.insert(con, kind.table, new.select(c.name for c in kind.table.columns))
        if lost.any():
            told = _quarantined(kind, seen.filter(lost), why.filter(lost), LINE in frame.columns)
            quarantine.keep(backend, con, told, received_us=received_us)
        if repairs:
            outcomes = ["stored" if reason is None else str(reason) for reason in why]
            settle(con, repairs, outcomes, at_us=received_us)
    bad = seen.filter(why.is_not_null())
    stored = set(new[_AT])
    return IngestReport(
        accepted=new.height,
        duplicate=seen.height - bad.height - new.height,
        rejected=bad.height,
        reasons=reasons(bad, why.drop_nulls()) if bad.height else (),
        outcomes=tuple(
            ("accepted" if at in stored else "duplicate") if reason is None else str(reason)
            for at, reason in enumerate(why)
        )
        if frame.height <= TOLD_UP_TO
        else (),
    )


def _quarantined(
    kind: Kind, bad: pl.DataFrame, why: pl.Series, lines: bool
) -> Iterator[QuarantinedRow]:
    called: Literal["user", "item"] = "user" if kind is USERS else "item"
    raws = bad.select(list(kind.schema)).to_dicts()
    for raw, reason, line in zip(raws, why, bad[LINE], strict=True):
        yield QuarantinedRow(called, reason, raw, line=line if lines else None)


def read_users(backend: Backend, ids: Sequence[str], *, seq: int | None) -> list[User | None]:
    """Return the version of each user known at ``seq``, in the order asked."""
    found = _read(backend, USERS, ids, seq)
    return [User(**found[i]) if i in found else None for i in ids]


def read_items(backend: Backend, ids: Sequence[str], *, seq: int | None) -> list[Item | None]:
    """Return the version of each item known at ``seq``, in the order asked."""
    found = _read(backend, ITEMS, ids, seq)
    return [Item(**found[i]) if i in found else None for i in ids]


def items_since(backend: Backend, seq: int) -> list[Item]:
    """Return the items with a version after ``seq``, each as it is now."""
    with backend.once() as fetch:
        found = fetch(_SINCE, {"after": seq})
    newest = {row[0]: row for row in found}  # the last version of an id stands
    return [Item(**fields_of(dict(zip(ITEM_SCHEMA, row, strict=True)))) for row in newest.values()]


def newest_items(backend: Backend, n: int) -> list[Item]:
    """Return the ``n`` items that changed last, newest first, each as it is now."""
    with backend.once() as fetch:
        found = fetch(_NEWEST, {"n": n})
    newest = {row[0]: row for row in reversed(found)}
    rows = sorted(newest.values(), key=lambda row: -int(row[-1]))
    return [Item(**fields_of(dict(zip(ITEM_SCHEMA, row, strict=False)))) for row in rows]


def newest_item() -> sa.ScalarSelect[int]:
    """Return the number of the newest version of any item, 0 when there is none."""
    return sa.select(sa.func.coalesce(sa.func.max(items.c.seq), 0)).scalar_subquery()


_SINCE = (
    sa.select(*(items.c[name] for name in ITEM_SCHEMA))
    .where(items.c.seq > sa.bindparam("after"))
    .order_by(items.c.seq)
)
_NEWEST = (
    sa.select(*(items.c[name] for name in ITEM_SCHEMA), items.c.seq)
    .order_by(items.c.seq.desc())
    .limit(sa.bindparam("n"))
)


def known_at(kind: Kind, seq: int | None) -> sa.Select[Any]:
    """Return the newest version of every id at ``seq``, ordered by id."""
    table, key = kind.table, kind.table.c[kind.key]
    newest = (
        sa.select(sa.func.max(table.c.seq)).where(table.c.seq <= bound(seq)).group_by(key)
    ).scalar_subquery()
    return (
        sa.select(*(table.c[name] for name in kind.schema))
        .where(table.c.seq.in_(newest))
        .order_by(key)
    )


def _read(
    backend: Backend, kind: Kind, ids: Sequence[str], seq: int | None
) -> dict[str, dict[str, Any]]:
    query = newest_of(kind.name, tuple(kind.schema), backend.listed)
    values = {"ids": backend.packed(ids), "known": bound(seq)}
    with backend.once() as fetch:
        found = fetch(query, values)
    rows = (dict(zip(kind.schema, row, strict=True)) for row in found)
    return {row[kind.key]: fields_of(row) for row in rows}


@cache
def newest_of(name: str, columns: tuple[str, ...], listed: sa.Select[Any]) -> sa.Select[Any]:
    """Return the read of some ids in the version known at ``known``."""
    kind = {"user": USERS, "item": ITEMS}[name]
    table, key = kind.table, kind.table.c[kind.key]
    newest = (
        sa.select(sa.func.max(table.c.seq))
        .where(key.in_(listed), table.c.seq <= sa.bindparam("known"))
        .group_by(key)
    ).scalar_subquery()
    return sa.select(*(table.c[name] for name in columns)).where(table.c.seq.in_(newest))


def fields_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a record as stored, with its JSON read."""
    for name in _JSON:
        if name in row:
            row[name] = json.loads(row[name]) if row[name] else {}
    if "categories" in row:
        row["categories"] = tuple(json.loads(row["categories"])) if row["categories"] else ()
    return row


def _changed(backend: Backend, con: sa.Connection, kind: Kind, rows: pl.DataFrame) -> pl.DataFrame:
    query = newest_of(kind.name, (kind.key, "content"), backend.listed)
    values = {"ids": backend.packed(rows[kind.key].to_list()), "known": LAST}
    stored = pl.DataFrame(
        backend.fetch(con, query, values),
        schema={kind.key: pl.String, "stored": pl.Binary},
        orient="row",
    )
    rows = rows.join(stored, on=kind.key, how="left", maintain_order="left")
    before = pl.coalesce(pl.col("content").shift(1).over(kind.key), "stored")
    return rows.filter((pl.col("content") != before).fill_null(True))


def _canonical(rows: pl.DataFrame, kind: Kind) -> tuple[pl.DataFrame, pl.Series]:
    """Write JSON one way, so that the order of its keys is not a change."""
    faults = [False] * rows.height
    for name in (n for n in _JSON if n in kind.schema):
        column: list[str | None] = []
        for at, text in enumerate(rows[name]):
            written, sound = _json_object(text)
            faults[at] = faults[at] or not sound
            column.append(written if sound else text)
        rows = rows.with_columns(pl.Series(name, column, dtype=pl.String))
    if "categories" in kind.schema:
        lists = [
            json.dumps(held, ensure_ascii=False) if held else None
            for held in rows["categories"].to_list()
        ]
        rows = rows.with_columns(pl.Series("categories", lists, dtype=pl.String))
    return rows, pl.Series(faults, dtype=pl.Boolean)


def _json_object(text: str | None) -> tuple[str | None, bool]:
    if text is None or text == "":
        return None, True
    try:
        held = json.loads(text)
    except ValueError:
        return None, False
    if not isinstance(held, dict):
        return None, False
    written = json.dumps(held, ensure_ascii=False, sort_keys=True) if held else None
    try:
        (written or "").encode()
    except UnicodeEncodeError:  # half a surrogate pair, which is no text
        return None, False
    return written, True
