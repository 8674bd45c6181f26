"""Refused rows that leave quarantine, in the transaction that stores them, and who let them out."""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from lifeloop.contracts import Repair
from lifeloop.store.quarantine import released
from lifeloop.store.tables import repairs as table

DROPPED = "dropped"
"""What became of a row that was no data."""


def settle(
    con: sa.Connection, repairs: Sequence[Repair], outcomes: Sequence[str], *, at_us: int
) -> None:
    """Release rows and keep, for those that are still there, who did it and what was changed.

    Two that repair the same row at once: the first one is kept, the event is stored once.
    """
    done = []
    for repair, outcome in zip(repairs, outcomes, strict=True):
        row = repair.row
        if row.quarantine_id is None or not released(con, [row.quarantine_id]):
            continue
        done.append(
            {
                "quarantine_id": row.quarantine_id,
                "kind": row.kind,
                "reason": row.reason,
                "source": row.source,
                "line": row.line,
                "who": repair.who,
                "at_us": at_us,
                "outcome": outcome,
                "raw": json.dumps(dict(row.raw), default=str),
                "changes": json.dumps(dict(repair.changes), default=str),
            }
        )
    if done:
        con.execute(sa.insert(table), done)


def listed(con: sa.Connection, *, limit: int | None = None) -> list[dict[str, Any]]:
    """Return every repair, oldest first; with ``limit`` the newest ones."""
    query = sa.select(table).order_by(table.c.id.desc()).limit(limit)
    rows = [dict(row._mapping) for row in con.execute(query)]
    for row in rows:
        row |= {"raw": json.loads(row["raw"]), "changes": json.loads(row["changes"])}
    return rows[::-1]


def about(con: sa.Connection, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the repairs of rows that name one of these people, before or after the change."""
    from lifeloop.store.tombstones import names_in

    wanted = set(names)
    texts = [json.dumps(name)[1:-1] for name in names]
    holds = sa.or_(
        *(
            c.contains(text, autoescape=True)
            for text in texts
            for c in (table.c.raw, table.c.changes)
        )
    )
    query = sa.select(table).where(holds).order_by(table.c.id) if texts else None
    rows = [] if query is None else [dict(row._mapping) for row in con.execute(query)]
    found = []
    for row in rows:
        row |= {"raw": json.loads(row["raw"]), "changes": json.loads(row["changes"])}
        if wanted & {*names_in(row["raw"]), *names_in(row["changes"])}:
            found.append(row)
    return found


def forgotten(con: sa.Connection, names: Sequence[str]) -> int:
    """Remove the repairs of rows that name one of these people; return how many."""
    ids = [row["id"] for row in about(con, names)]
    for start in range(0, len(ids), 500):
        con.execute(sa.delete(table).where(table.c.id.in_(ids[start : start + 500])))
    return len(ids)
