"""Everything that is held about one person, as plain JSON: the answer to a request for access."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from lifeloop.events.records import ANONYMOUS_PREFIX
from lifeloop.store.backend import Backend
from lifeloop.store.quarantine import about
from lifeloop.store.repairing import about as repaired
from lifeloop.store.tables import decisions, events, identity_audit, links, users

_JSON = ("context", "consent", "attributes", "body")
_HIDDEN = ("content",)  # a hash of the rest


def held_about(backend: Backend, user_id: str) -> dict[str, Any]:
    """Return profile versions, aliases, events, decisions, refused rows and refused links.

    Superseded versions of order lines are among the events: they are held, so they are told.
    ``user_id`` may be ``anon:<id>`` for a visitor. All is read from one state of the store.
    """
    with backend.read() as con:
        alone = user_id.startswith(ANONYMOUS_PREFIX)
        query = sa.select(links.c.anonymous_id).where(links.c.user_id == user_id)
        visitors = [str(name) for name in con.execute(query).scalars()]
        visitors = [user_id.removeprefix(ANONYMOUS_PREFIX)] if alone else visitors
        values = {"ids": backend.packed(visitors)}
        theirs = sa.or_(
            events.c.user_id == user_id,
            sa.and_(events.c.user_id.is_(None), events.c.anonymous_id.in_(backend.listed)),
        )
        people = [user_id, *(ANONYMOUS_PREFIX + name for name in visitors)]
        names = [*visitors] if alone else [user_id, *visitors]
        return {
            "user_id": user_id,
            "profile": _rows(con, sa.select(users).where(users.c.user_id == user_id)),
            "aliases": _rows(con, sa.select(links).where(links.c.user_id == user_id)),
            "events": _rows(con, sa.select(events).where(theirs).order_by(events.c.seq), values),
            "decisions": _rows(
                con,
                sa.select(decisions).where(decisions.c.user_id.in_(backend.listed)),
                {"ids": backend.packed(people)},
            ),
            "refused_rows": [
                {
                    "kind": row.kind,
                    "reason": row.reason,
                    "source": row.source,
                    "line": row.line,
                    "row": dict(row.raw),
                }
                for row in about(con, names)
            ],
            "repaired_rows": [{**row, "at": _iso(row["at_us"])} for row in repaired(con, names)],
            "refused_links": _rows(
                con,
                sa.select(identity_audit).where(
                    sa.or_(
                        identity_audit.c.user_id.in_(names),
                        identity_audit.c.anonymous_id.in_(names),
                        identity_audit.c.linked_to.in_(names),
                    )
                ),
            ),
        }


def _rows(
    con: sa.Connection, query: sa.Select[Any], values: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    return [_told(row._asdict().items()) for row in con.execute(query, values or {})]


def _told(columns: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, value in columns:
        if value is None or name in _HIDDEN:
            continue
        if name in _JSON:
            told[name] = json.loads(value)
            continue
        told[name] = value
        if name.endswith("_us"):
            told[name.removesuffix("_us") + "_at"] = _iso(value)
    return told


def _iso(t_us: int) -> str:
    seconds, micros = divmod(t_us, 1_000_000)
    return datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=micros).isoformat()
