"""Rows that point to nothing: events of unknown users and items, links, decisions."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from lifeloop.contracts import Finding
from lifeloop.store.backend import Backend
from lifeloop.store.tables import bundles, decisions, events, items, links, users

_SHOWN = 5


def orphans(backend: Backend) -> Iterator[Finding]:
    """Look for ids in events, links and decisions that nothing else knows."""
    with backend.read() as con:
        yield from _unknown(con, "users", events.c.user_id, users.c.user_id)
        yield from _unknown(con, "items", events.c.item_id, items.c.item_id)
        yield from _links(con)
        yield from _decisions(con)


_MEANS = {
    "users": ("are known by their events only: no attributes, no consent, no sign-up", "users"),
    "items": ("are not in the catalogue: no title, no price, recommendable by use only", "items"),
}


def _unknown(
    con: sa.Connection, name: str, used: sa.Column[Any], known: sa.Column[Any]
) -> Iterator[Finding]:
    check = f"events of unknown {name}"
    if con.execute(sa.select(known).limit(1)).first() is None:
        yield Finding(check, "note", f"there are no records of {name}: ids of events are taken")
        return
    distinct = sa.select(used.label("id")).where(used.is_not(None)).distinct().subquery()
    lost = sa.select(distinct.c.id).where(~sa.exists().where(known == distinct.c.id))
    n = int(con.execute(sa.select(sa.func.count()).select_from(lost.subquery())).scalar_one())
    if not n:
        yield Finding(check, "ok", f"every {name[:-1]} of an event has a record")
        return
    total = int(con.execute(sa.select(sa.func.count()).select_from(distinct)).scalar_one())
    said, kind = _MEANS[name]
    yield Finding(
        check,
        "warning",
        f"{n:,} of {total:,} {name} in events {said}",
        count=n,
        examples=tuple(str(i) for i in con.execute(lost.limit(_SHOWN)).scalars()),
        next=f"lifeloop import {kind} FILE; if ids differ in form, map them to one form",
    )


def _links(con: sa.Connection) -> Iterator[Finding]:
    user = sa.exists().where(users.c.user_id == links.c.user_id)
    acted = sa.exists().where(events.c.user_id == links.c.user_id)
    visited = sa.exists().where(
        events.c.anonymous_id == links.c.anonymous_id, events.c.user_id.is_(None)
    )
    query = sa.select(links.c.anonymous_id, links.c.user_id).where(~user, ~acted, ~visited)
    n = int(con.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one())
    if not n:
        yield Finding("links", "ok", "every link joins somebody who is there")
        return
    yield Finding(
        "links",
        "warning",
        "links join a visitor without events and a user without events or record",
        count=n,
        examples=tuple(f"{a} → {u}" for a, u in con.execute(query.limit(_SHOWN))),
        next="look at who calls identify: it may send ids of another form than the events",
    )


def _decisions(con: sa.Connection) -> Iterator[Finding]:
    named = sa.func.count()
    known = sa.select(bundles.c.bundle)
    bundle: Any = (
        sa.func.json_extract(decisions.c.body, "$.bundle")
        if con.dialect.name == "sqlite"
        else sa.cast(decisions.c.body, sa.JSON)["bundle"].as_string()
    )
    query = sa.select(bundle, named).where(bundle.is_not(None), bundle != "", bundle.not_in(known))
    rows = con.execute(query.group_by(bundle).order_by(named.desc())).all()
    if not rows:
        yield Finding("decisions", "ok", "every slate names a model that was published")
        return
    yield Finding(
        "decisions",
        "note",
        "slates were decided by models that are not recorded here",
        count=sum(int(n) for _, n in rows),
        examples=tuple(f"{name}: {n:,}" for name, n in rows[:_SHOWN]),
        next="nothing, where they came with another store's log",
    )
