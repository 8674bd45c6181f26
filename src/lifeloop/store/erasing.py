"""Erasing a person: their rows go, a keyed hash stays, and they are refused when they return."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from lifeloop.contracts import ErasureReport, Long
from lifeloop.errors import IdentityRefused
from lifeloop.events.records import ANONYMOUS_PREFIX
from lifeloop.store import clock
from lifeloop.store.backend import Backend
from lifeloop.store.histories import linked_to
from lifeloop.store.ledger import Marks
from lifeloop.store.quarantine import about, released
from lifeloop.store.repairing import forgotten
from lifeloop.store.secret import mark
from lifeloop.store.tables import (
    decisions,
    events,
    identity_audit,
    links,
    quarantine,
    removals,
    superseded,
    users,
)
from lifeloop.store.tombstones import (
    USER,
    VISITOR,
    bury,
    key_of,
    marks_held,
    names_in,
    raise_marks,
)

_AT_ONCE = 500


def erase_person(backend: Backend, user_id: str, *, at_us: int) -> ErasureReport:
    """Remove a user, or a visitor named ``anon:<id>``, with every alias; all of it or nothing.

    What other people did stays, without the name of the erased one (as their referrer, as the
    device they used). The lake follows from the record of removals, which names rows by their
    sequence numbers and nobody by name.

    Raises
    ------
    IdentityRefused
        If a visitor is named who is linked to a user: the user is who can be erased.
    """
    with backend.write() as con:
        names, visitors = _names_of(con, user_id)
        bury(backend, con, users=names, visitors=visitors, at_us=at_us)
        # A second erasure must also find what another process stored just before the first.
        counts = _removed(backend, con, names, visitors, at_us=at_us)
        seq = clock.newest(con)
        clock.take(con, 0)
    backend.scrub()
    return ErasureReport(user_id=user_id, visitors=len(visitors), seq=seq, **counts)


def erase_again(backend: Backend, con: sa.Connection, marks: Marks) -> int:
    """Erase, in what was restored, everybody whom these marks of a ledger name; return how many.

    Raises
    ------
    StoreError
        If the marks are of another key than the one at hand, or that is missing.
    """
    fresh = {m: told for m, told in marks.items() if m not in marks_held(con)}
    if not fresh:
        return 0
    raise_marks(backend, con, marks)  # the mark of the key among them, which the next line looks up
    key = key_of(backend, con)
    users_, visitors = _everybody(con)
    names = [name for name in users_ if mark(key, USER, name) in fresh]
    alone = {name for name in visitors if mark(key, VISITOR, name) in fresh}
    aliases = {alias for name in names for alias in _names_of(con, name)[1]}
    devices = sorted(alone | aliases)
    at_us = max(when for _, when in fresh.values())
    bury(backend, con, users=names, visitors=devices, at_us=at_us)
    if names or devices:
        _removed(backend, con, names, devices, at_us=at_us)
    return len(names) + len(alone - aliases)


def _everybody(con: sa.Connection) -> tuple[set[str], set[str]]:
    """Return every name of a user and of a visitor that a database holds, wherever it stands."""
    users_: set[str] = set()
    visitors: set[str] = set()
    columns = [events.c.user_id, events.c.referrer_id, users.c.user_id, links.c.user_id]
    columns += [identity_audit.c.user_id, identity_audit.c.linked_to]
    for column in columns:
        users_ |= set(_distinct(con, column))
    for column in (events.c.anonymous_id, links.c.anonymous_id, identity_audit.c.anonymous_id):
        visitors |= set(_distinct(con, column))
    for person in _distinct(con, decisions.c.user_id):
        mine = visitors if person.startswith(ANONYMOUS_PREFIX) else users_
        mine.add(person.removeprefix(ANONYMOUS_PREFIX))
    for raw in con.execute(sa.select(quarantine.c.raw)).scalars():
        named = set(names_in(json.loads(raw)))
        users_ |= named
        visitors |= named
    return users_, visitors


def _distinct(con: sa.Connection, column: sa.Column[Any]) -> list[str]:
    query = sa.select(column).where(column.is_not(None)).distinct()
    return [str(name) for name in con.execute(query).scalars()]


def _removed(
    backend: Backend, con: sa.Connection, names: list[str], visitors: list[str], *, at_us: int
) -> dict[str, int]:
    """Remove people and keep the record by which the lake follows; return counts."""
    counts, gone, changed = _remove(backend, con, names, visitors)
    body = {"gone": ranges(gone), "changed": ranges(changed), "counts": counts}
    con.execute(
        sa.insert(removals).values(why="erased", at_us=at_us, seqs=len(gone), body=json.dumps(body))
    )
    return counts


def _names_of(con: sa.Connection, user_id: str) -> tuple[list[str], list[str]]:
    if not user_id.startswith(ANONYMOUS_PREFIX):
        query = sa.select(links.c.anonymous_id).where(links.c.user_id == user_id)
        return [user_id], [str(name) for name in con.execute(query).scalars()]
    visitor = user_id.removeprefix(ANONYMOUS_PREFIX)
    if linked_to(con, visitor) is not None:
        raise IdentityRefused(
            "this visitor is linked to a user, and is erased together with that user only",
            got=user_id,
            hint="erase the user",
        )
    return [], [visitor]


def _remove(
    backend: Backend, con: sa.Connection, names: list[str], visitors: list[str]
) -> tuple[dict[str, int], Long, Long]:
    """Delete and clean; return counts, the numbers that are gone, and those of cleaned events."""
    user = {"ids": backend.packed(names)}
    device = {"ids": backend.packed(visitors)}
    listed = backend.listed
    theirs = events.c.user_id.in_(listed)
    visits = sa.and_(events.c.user_id.is_(None), events.c.anonymous_id.in_(listed))
    gone = [
        *con.execute(sa.select(events.c.seq).where(theirs), user).scalars(),
        *con.execute(sa.select(events.c.seq).where(visits), device).scalars(),
    ]
    n_events = len(gone)
    # A version that stood in for somebody else's row goes on hiding it, so only their own leave.
    drop_pairs(con, gone)
    con.execute(sa.delete(events).where(theirs), user)
    con.execute(sa.delete(events).where(visits), device)
    profile = users.c.user_id.in_(listed)
    versions = list(con.execute(sa.select(users.c.seq).where(profile), user).scalars())
    con.execute(sa.delete(users).where(profile), user)
    own = links.c.user_id.in_(listed)
    aliases = list(con.execute(sa.select(links.c.seq).where(own), user).scalars())
    con.execute(sa.delete(links).where(own), user)
    changed = _without_name(con, events.c.referrer_id, listed, user)
    changed += _without_name(con, events.c.anonymous_id, listed, device)
    people = [*names, *(ANONYMOUS_PREFIX + name for name in visitors)]
    slates = sa.delete(decisions).where(decisions.c.user_id.in_(listed))
    n_decisions = con.execute(slates, {"ids": backend.packed(people)}).rowcount
    refused = [row.quarantine_id for row in about(con, [*names, *visitors])]
    n_refused = released(con, [i for i in refused if i is not None])
    named = [*names, *visitors]
    audit = sa.delete(identity_audit).where(
        sa.or_(*(identity_audit.c[c].in_(listed) for c in ("anonymous_id", "user_id", "linked_to")))
    )
    n_audit = con.execute(audit, {"ids": backend.packed(named)}).rowcount + forgotten(con, named)
    counts = {
        "events": n_events,
        "profiles": len(versions),
        "links": len(aliases),
        "decisions": n_decisions,
        "quarantined": n_refused,
        "audited": n_audit,
        "cleaned": len(set(changed)),
    }
    return counts, _sorted([*gone, *versions, *aliases]), _sorted(changed)


def _without_name(
    con: sa.Connection, column: sa.Column[Any], listed: sa.Select[Any], values: dict[str, Any]
) -> list[int]:
    """Clear a column where it names the erased; return the numbers of those events."""
    found = list(con.execute(sa.select(events.c.seq).where(column.in_(listed)), values).scalars())
    if found:
        con.execute(sa.update(events).where(column.in_(listed)).values({column.name: None}), values)
    return found


def drop_pairs(con: sa.Connection, seqs: Sequence[int]) -> None:
    """Forget what stood in for events that are gone."""
    for start in range(0, len(seqs), _AT_ONCE):
        part = list(seqs[start : start + _AT_ONCE])
        con.execute(sa.delete(superseded).where(superseded.c.seq.in_(part)))


def ranges(seqs: Long) -> list[list[int]]:
    """Return sorted numbers as inclusive ranges: [1, 2, 3, 7] is [[1, 3], [7, 7]]."""
    if not len(seqs):
        return []
    breaks = np.flatnonzero(np.diff(seqs) != 1)
    firsts, lasts = seqs[np.r_[0, breaks + 1]], seqs[np.r_[breaks, len(seqs) - 1]]
    return [[int(a), int(b)] for a, b in zip(firsts, lasts, strict=True)]


def _sorted(seqs: Iterable[int]) -> Long:
    return np.unique(np.array(list(seqs), dtype=np.int64))
