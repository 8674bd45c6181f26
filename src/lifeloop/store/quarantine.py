"""Refused rows, kept as they came so that they can be repaired and replayed."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from lifeloop.contracts import QuarantinedRow
from lifeloop.store.backend import Backend
from lifeloop.store.rows import digest
from lifeloop.store.tables import quarantine, repairs
from lifeloop.store.tombstones import erased_of, names_in

_AT_ONCE = 500  # ids per statement


def keep(
    backend: Backend, con: sa.Connection, rows: Iterable[QuarantinedRow], *, received_us: int
) -> int:
    """Keep refused rows; the same line of the same source once, and none of an erased person.

    A row that comes from another store (it has a ``key``) keeps its arrival, and is left out where
    it was repaired already. Returns how many are new.
    """
    rows = _without_erased(backend, con, list(rows))
    values = [_record(row, received_us) for row in rows]
    seen: set[str] = set()
    fresh = []
    for start in range(0, len(values), _AT_ONCE):
        keys = [value["row_key"] for value in values[start : start + _AT_ONCE]]
        query = sa.select(quarantine.c.row_key).where(quarantine.c.row_key.in_(keys))
        seen |= set(con.execute(query).scalars())
    for value in values:
        if value["row_key"] not in seen:
            seen.add(value["row_key"])
            fresh.append(value)
    if any(row.key is not None for row in rows):
        done = _settled(con, [value["raw"] for value in fresh])
        fresh = [value for value in fresh if _told(value) not in done]
    if fresh:
        con.execute(sa.insert(quarantine), fresh)
    return len(fresh)


_TOLD = ("kind", "reason", "source", "line", "raw")


def _told(value: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(value[name] for name in _TOLD)


def _settled(con: sa.Connection, raws: Sequence[str]) -> set[tuple[Any, ...]]:
    """Return what was let out of quarantine among rows of these texts."""
    done: set[tuple[Any, ...]] = set()
    for start in range(0, len(raws), _AT_ONCE):
        listed = repairs.c.raw.in_(raws[start : start + _AT_ONCE])
        query = sa.select(*(repairs.c[name] for name in _TOLD)).where(listed)
        done |= {tuple(row) for row in con.execute(query)}
    return done


def listed(con: sa.Connection, *, reason: str | None, limit: int | None) -> list[QuarantinedRow]:
    """Return refused rows, oldest first."""
    query = sa.select(quarantine).order_by(quarantine.c.id).limit(limit)
    if reason is not None:
        query = query.where(quarantine.c.reason == reason)
    return [_row(row) for row in con.execute(query)]


def about(con: sa.Connection, names: Sequence[str]) -> list[QuarantinedRow]:
    """Return the refused rows that name one of these people, oldest first."""
    if not names:
        return []
    texts = [json.dumps(name)[1:-1] for name in names]
    holds = sa.or_(*(quarantine.c.raw.contains(text, autoescape=True) for text in texts))
    query = sa.select(quarantine).where(holds).order_by(quarantine.c.id)
    wanted = set(names)
    rows = [_row(row) for row in con.execute(query)]
    return [row for row in rows if not wanted.isdisjoint(names_in(row.raw))]


def _without_erased(
    backend: Backend, con: sa.Connection, rows: list[QuarantinedRow]
) -> list[QuarantinedRow]:
    named = [set(names_in(row.raw)) for row in rows]
    every = set().union(*named)
    found = erased_of(backend, con, users=every, visitors=every)
    gone = found.users | found.visitors
    return [row for row, names in zip(rows, named, strict=True) if gone.isdisjoint(names)]


def released(con: sa.Connection, ids: Sequence[int]) -> int:
    """Remove rows that were replayed; return how many there were."""
    n = 0
    for start in range(0, len(ids), _AT_ONCE):
        part = [int(i) for i in ids[start : start + _AT_ONCE]]
        n += con.execute(sa.delete(quarantine).where(quarantine.c.id.in_(part))).rowcount
    return n


def _row(row: sa.Row[Any]) -> QuarantinedRow:
    return QuarantinedRow(
        kind=row.kind,
        reason=row.reason,
        raw=json.loads(row.raw),
        source=row.source,
        line=row.line,
        quarantine_id=row.id,
        received_us=row.received_us,
        key=row.row_key,
    )


def _record(row: QuarantinedRow, received_us: int) -> dict[str, Any]:
    # ASCII keeps what is not valid Unicode; str keeps what JSON has no word for.
    raw = json.dumps(dict(row.raw), default=str)
    source = _shown(row.source)
    parts = [row.kind, row.reason, raw, source, str(row.line)]
    fresh = digest(parts).hex() if row.line is not None else uuid.uuid4().hex
    return {
        "kind": row.kind,
        "reason": row.reason,
        "raw": raw,
        "source": source,
        "line": row.line,
        "received_us": received_us if row.key is None else row.received_us or received_us,
        "row_key": row.key or fresh,
    }


def _shown(source: str) -> str:
    """Return the name of a source without what a database cannot hold; ``raw`` keeps it all."""
    return source.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
