"""Refused rows, kept as they came so that they can be repaired and replayed."""

import json
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from lifeloop.contracts import QuarantinedRow
from lifeloop.store.rows import digest
from lifeloop.store.tables import quarantine

_AT_ONCE = 500  # ids per statement


def keep(con: sa.Connection, rows: Iterable[QuarantinedRow], *, received_us: int) -> None:
    """Keep refused rows; the same line of the same source is kept once."""
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
    if fresh:
        con.execute(sa.insert(quarantine), fresh)


def listed(con: sa.Connection, *, reason: str | None, limit: int | None) -> list[QuarantinedRow]:
    """Return refused rows, oldest first."""
    query = sa.select(quarantine).order_by(quarantine.c.id).limit(limit)
    if reason is not None:
        query = query.where(quarantine.c.reason == reason)
    return [
        QuarantinedRow(
            kind=row.kind,
            reason=row.reason,
            raw=json.loads(row.raw),
            source=row.source,
            line=row.line,
            quarantine_id=row.id,
            received_us=row.received_us,
        )
        for row in con.execute(query)
    ]


def released(con: sa.Connection, ids: Sequence[int]) -> int:
    """Remove rows that were replayed; return how many there were."""
    n = 0
    for start in range(0, len(ids), _AT_ONCE):
        part = [int(i) for i in ids[start : start + _AT_ONCE]]
        n += con.execute(sa.delete(quarantine).where(quarantine.c.id.in_(part))).rowcount
    return n


def _record(row: QuarantinedRow, received_us: int) -> dict[str, Any]:
    # ASCII keeps what is not valid Unicode; str keeps what JSON has no word for.
    raw = json.dumps(dict(row.raw), default=str)
    known = row.line is not None
    source = _shown(row.source)
    parts = [row.kind, row.reason, raw, source, str(row.line)]
    return {
        "kind": row.kind,
        "reason": row.reason,
        "raw": raw,
        "source": source,
        "line": row.line,
        "received_us": received_us,
        "row_key": digest(parts).hex() if known else uuid.uuid4().hex,
    }


def _shown(source: str) -> str:
    """Return the name of a source without what a database cannot hold; ``raw`` keeps it all."""
    return source.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
