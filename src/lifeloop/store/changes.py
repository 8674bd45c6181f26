"""What came into the store after a moment of knowledge, and whose past it changed."""

from collections.abc import Sequence

import polars as pl
import sqlalchemy as sa

from lifeloop.contracts import Changes
from lifeloop.events.records import ANONYMOUS_PREFIX, STORED_EVENT_SCHEMA
from lifeloop.store import clock
from lifeloop.store.backend import Backend
from lifeloop.store.snapshots import resolved, without_replaced
from lifeloop.store.tables import events, links, superseded

BLOCK = 500
"""Ids per statement: databases bound the number of parameters."""


def changes_since(backend: Backend, after_seq: int) -> Changes:
    """Return the events that came after ``after_seq`` and the people to be looked at again."""
    with backend.read() as con:
        newest = clock.newest(con)
        count = sa.select(sa.func.count(events.c.event_id))
        held = int(con.execute(count).scalar_one())
        came = int(con.execute(count.where(events.c.seq > after_seq)).scalar_one())
    new = (events.c.seq > after_seq) & (events.c.seq <= newest)
    query = sa.select(*(events.c[name] for name in STORED_EVENT_SCHEMA)).where(new)
    frame = without_replaced(backend, backend.frame(query, STORED_EVENT_SCHEMA), seq=newest)
    frame = resolved(backend, frame, seq=newest)
    fresh = (links.c.seq > after_seq) & (links.c.seq <= newest)
    linked = backend.frame(
        sa.select(links.c.anonymous_id, links.c.user_id).where(fresh),
        {"anonymous_id": pl.String, "user_id": pl.String},
    )
    replaced = sa.select(superseded.c.seq).where(
        superseded.c.by_seq > after_seq,
        superseded.c.by_seq <= newest,
        superseded.c.seq <= after_seq,
    )
    older = sa.select(*(events.c[name] for name in STORED_EVENT_SCHEMA)).where(
        events.c.seq.in_(replaced)
    )
    whose = resolved(backend, backend.frame(older, STORED_EVENT_SCHEMA), seq=newest)
    people = {
        *(ANONYMOUS_PREFIX + name for name in linked["anonymous_id"]),
        *linked["user_id"],
        *whose["user_id"],
    }
    return Changes(events=frame, people=tuple(sorted(people)), seq=newest, before=held - came)


def events_of(backend: Backend, user_ids: Sequence[str], *, seq: int) -> pl.DataFrame:
    """Return every event of these people as known at ``seq``; visitors are ``anon:<id>``."""
    frames = [pl.DataFrame(schema=STORED_EVENT_SCHEMA)]
    for at in range(0, len(user_ids), BLOCK):
        block = user_ids[at : at + BLOCK]
        known = [name for name in block if not name.startswith(ANONYMOUS_PREFIX)]
        visitors = [
            name.removeprefix(ANONYMOUS_PREFIX)
            for name in block
            if name.startswith(ANONYMOUS_PREFIX)
        ]
        theirs = sa.select(links.c.anonymous_id).where(
            links.c.user_id.in_(known), links.c.seq <= seq
        )
        anonymous = events.c.user_id.is_(None) & (
            events.c.anonymous_id.in_(theirs) | events.c.anonymous_id.in_(visitors)
        )
        query = sa.select(*(events.c[name] for name in STORED_EVENT_SCHEMA)).where(
            events.c.seq <= seq, events.c.user_id.in_(known) | anonymous
        )
        frame = without_replaced(backend, backend.frame(query, STORED_EVENT_SCHEMA), seq=seq)
        frames.append(resolved(backend, frame, seq=seq))
    asked = pl.Series(list(user_ids), dtype=pl.String)
    return pl.concat(frames).filter(pl.col("user_id").is_in(asked.implode()))
