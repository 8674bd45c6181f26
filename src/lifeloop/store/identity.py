"""Linking a visitor to a user, once; two known people are never merged."""

from typing import Any

import sqlalchemy as sa

from lifeloop.contracts import IdentityReport
from lifeloop.errors import IdentityRefused
from lifeloop.events.ids import LONGEST, id_problem
from lifeloop.events.records import ANONYMOUS_PREFIX
from lifeloop.store import clock
from lifeloop.store.backend import Backend
from lifeloop.store.histories import linked_to
from lifeloop.store.tables import events, identity_audit, links, users


def identify(
    backend: Backend, anonymous_id: str, user_id: str, *, received_us: int
) -> IdentityReport:
    """Link ``anonymous_id`` to ``user_id`` from the next sequence number on.

    Raises
    ------
    IdentityRefused
        If an id is a placeholder, the visitor is linked to someone else, or the visitor's id
        is itself a known user. Every refusal is kept in the identity audit.
    """
    with backend.write() as con:
        linked = linked_to(con, anonymous_id)
        fault = _fault(con, anonymous_id, user_id, linked)
        if fault is None and linked == user_id:
            seq = con.execute(
                sa.select(links.c.seq).where(links.c.anonymous_id == anonymous_id)
            ).scalar_one()
            clock.take(con, 0)
            n = _n_events(con, anonymous_id)
            return IdentityReport(anonymous_id, user_id, "already", int(seq), n)
        if fault is None:
            seq = clock.take(con, 1) + 1
            link = {"anonymous_id": anonymous_id, "user_id": user_id}
            con.execute(sa.insert(links).values(**link, seq=seq, at_us=received_us))
            n = _n_events(con, anonymous_id)
            return IdentityReport(anonymous_id, user_id, "linked", seq, n)
        con.execute(
            sa.insert(identity_audit).values(
                anonymous_id=anonymous_id,
                user_id=user_id,
                linked_to=linked,
                reason=fault,
                at_us=received_us,
            )
        )
    raise IdentityRefused(
        _WORDS.get(fault, fault),
        got=f"identify({anonymous_id!r}, {user_id!r})",
        allowed="a visitor's own id that no account uses, and the user it belongs to",
        hint="the refusal is kept in the identity audit; " + _NEXT.get(fault, "correct the id"),
    )


def audit(con: sa.Connection) -> list[dict[str, Any]]:
    """Return every refused link, oldest first."""
    query = sa.select(identity_audit).order_by(identity_audit.c.id)
    return [dict(row._mapping) for row in con.execute(query)]


_WORDS = {
    "placeholder_id": "a placeholder is not a person's id",
    "id_too_long": f"an id has more than {LONGEST:,} characters",
    "reserved_prefix": f"an id cannot begin with {ANONYMOUS_PREFIX!r}",
    "linked_to_another": "this visitor is already linked to another user",
    "two_known_users": "the visitor's id is itself a known user, and two users never merge",
}
_NEXT = {
    "placeholder_id": "send the id only when it is known",
    "id_too_long": "send the id itself, not a document",
    "reserved_prefix": "send the id as the visitor or the account has it, without the prefix",
    "linked_to_another": "give the device a new anonymous id when its user changes",
    "two_known_users": "send user_id on the events of a shared device instead",
}


def _fault(con: sa.Connection, anonymous_id: str, user_id: str, linked: str | None) -> str | None:
    for name in (anonymous_id, user_id):
        if not name.strip():
            return "placeholder_id"
        if problem := id_problem(name, person=True):
            return problem
    if linked is not None and linked != user_id:
        return "linked_to_another"
    if linked is None and anonymous_id != user_id and _is_known_user(con, anonymous_id):
        return "two_known_users"
    return None


def _is_known_user(con: sa.Connection, name: str) -> bool:
    return any(
        con.execute(sa.select(table.c.seq).where(table.c.user_id == name).limit(1)).first()
        for table in (users, events, links)
    )


def _n_events(con: sa.Connection, anonymous_id: str) -> int:
    query = sa.select(sa.func.count()).where(
        events.c.user_id.is_(None), events.c.anonymous_id == anonymous_id
    )
    return int(con.execute(query).scalar_one())
