"""Linking a visitor to a user, once; two known people are never merged."""

import re
from typing import Any, get_args

import sqlalchemy as sa

from lifeloop.contracts import Alias, AliasKind, IdentityReport
from lifeloop.errors import IdentityRefused, InputError
from lifeloop.events.ids import LONGEST, id_problem
from lifeloop.events.records import ANONYMOUS_PREFIX
from lifeloop.store import clock
from lifeloop.store.backend import Backend, bound
from lifeloop.store.histories import linked_to
from lifeloop.store.tables import events, identity_audit, links, users
from lifeloop.store.tombstones import erased_of

MOST = 1000
"""Aliases of one user."""

_HASH = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64}|[0-9a-fA-F]{128}")


def identify(
    backend: Backend,
    anonymous_id: str,
    user_id: str,
    *,
    received_us: int,
    kind: AliasKind = "device",
) -> IdentityReport:
    """Link ``anonymous_id``, an alias of some kind, to ``user_id`` from the next number on.

    Raises
    ------
    IdentityRefused
        If an id is a placeholder, the visitor is linked to someone else, the visitor's id is
        itself a known user, a mail address comes in the clear, a user would get a second
        UnionID or more aliases than a person has. Every refusal is kept in the identity audit;
        that one of the two was erased is refused and kept nowhere.
    """
    if kind not in get_args(AliasKind):
        raise InputError(
            "an alias is of an unknown kind", got=kind, allowed=", ".join(get_args(AliasKind))
        )
    with backend.write() as con:
        if erased_of(backend, con, users=[user_id], visitors=[anonymous_id]):
            raise IdentityRefused(
                "this person was erased",
                got=f"identify({anonymous_id!r}, {user_id!r})",
                hint="give the device a new anonymous id, and the person a new user id",
            )
        linked = linked_to(con, anonymous_id)
        fault = _fault(con, anonymous_id, user_id, linked, kind)
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
            con.execute(sa.insert(links).values(**link, kind=kind, seq=seq, at_us=received_us))
            n = _n_events(con, anonymous_id)
            return IdentityReport(anonymous_id, user_id, "linked", seq, n)
        con.execute(
            sa.insert(identity_audit).values(
                anonymous_id="" if fault == "not_a_hash" else anonymous_id,
                user_id=user_id,
                linked_to=linked,
                reason=fault,
                at_us=received_us,
            )
        )
    if kind == "mail_hash" and fault == "not_a_hash":
        anonymous_id = "…"
    raise IdentityRefused(
        _WORDS.get(fault, fault),
        got=f"identify({anonymous_id!r}, {user_id!r})",
        allowed="a visitor's own id that no account uses, and the user it belongs to",
        hint="the refusal is kept in the identity audit; " + _NEXT.get(fault, "correct the id"),
    )


def aliases_of(con: sa.Connection, user_id: str, *, seq: int | None) -> list[Alias]:
    """Return the aliases of a user known at ``seq``, oldest first."""
    query = sa.select(links).where(links.c.user_id == user_id, links.c.seq <= bound(seq))
    return [
        Alias(row.anonymous_id, row.kind, row.seq, row.at_us)
        for row in con.execute(query.order_by(links.c.seq))
    ]


def first_name(con: sa.Connection, person: str) -> str:
    """Return the name under which a person was first met, which signing in does not change.

    A visitor keeps being ``anon:<id>``, also as the user they turn out to be, unless that user
    was known before. What is decided by this name (an experiment's arm, a seed) stays.
    """
    if person.startswith(ANONYMOUS_PREFIX):
        user_id = linked_to(con, person.removeprefix(ANONYMOUS_PREFIX))
        if user_id is None:
            return person
        person = user_id
    query = sa.select(links).where(links.c.user_id == person).order_by(links.c.seq).limit(1)
    link = con.execute(query).first()
    if link is None:
        return person
    before = any(
        con.execute(
            sa.select(table.c.seq).where(table.c.user_id == person, table.c.seq < link.seq).limit(1)
        ).first()
        for table in (users, events)
    )
    return person if before else f"{ANONYMOUS_PREFIX}{link.anonymous_id}"


def audit(con: sa.Connection) -> list[dict[str, Any]]:
    """Return every refused link, oldest first."""
    query = sa.select(identity_audit).order_by(identity_audit.c.id)
    return [dict(row._mapping) for row in con.execute(query)]


_WORDS = {
    "placeholder_id": "a placeholder is not a person's id",
    "id_too_long": f"an id has more than {LONGEST:,} characters",
    "reserved_prefix": f"an id cannot begin with {ANONYMOUS_PREFIX!r}",
    "linked_to_another": "this visitor is already linked to another user",
    "not_a_hash": "a mail address comes as its hash, never in the clear",
    "second_unionid": "this user has another UnionID, and two UnionIDs are two people",
    "too_many_aliases": f"a user has at most {MOST:,} aliases; more are a placeholder's",
    "two_known_users": "the visitor's id is itself a known user, and two users never merge",
}
_NEXT = {
    "placeholder_id": "send the id only when it is known",
    "id_too_long": "send the id itself, not a document",
    "reserved_prefix": "send the id as the visitor or the account has it, without the prefix",
    "linked_to_another": "give the device a new anonymous id when its user changes",
    "not_a_hash": "send sha256(lower(trim(address))) in hex",
    "second_unionid": "make a second user of the second WeChat account",
    "too_many_aliases": "look at who sends this user id: often it stands for nobody in particular",
    "two_known_users": "send user_id on the events of a shared device instead",
}


def _fault(
    con: sa.Connection, anonymous_id: str, user_id: str, linked: str | None, kind: AliasKind
) -> str | None:
    if kind == "mail_hash" and not _HASH.fullmatch(anonymous_id):
        return "not_a_hash"
    for name in (anonymous_id, user_id):
        if not name.strip():
            return "placeholder_id"
        if problem := id_problem(name, person=True):
            return problem
    if linked is not None and linked != user_id:
        return "linked_to_another"
    if linked is None and anonymous_id != user_id and _is_known_user(con, anonymous_id):
        return "two_known_users"
    if linked is None:
        held = aliases_of(con, user_id, seq=None)
        if kind == "unionid" and any(alias.kind == "unionid" for alias in held):
            return "second_unionid"
        if len(held) >= MOST:
            return "too_many_aliases"
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
