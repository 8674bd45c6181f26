"""What has been kept long enough goes, and does not come back by an import of an old file."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import sqlalchemy as sa

from lifeloop.contracts import Cutoffs, Expired
from lifeloop.store import clock
from lifeloop.store.backend import Backend
from lifeloop.store.erasing import drop_pairs, ranges
from lifeloop.store.tables import clock as clock_table
from lifeloop.store.tables import (
    decisions,
    events,
    identity_audit,
    kept,
    quarantine,
    removals,
    repairs,
    superseded,
)

EXPIRED = "expired"
"""Why an event is refused that is older than what is kept."""

AT_ONCE = 50_000
"""Events that go in one transaction: others can write in between."""

_KIND, _NAME = "retention", "events"
_BOUNDARY: sa.Select[Any] = sa.select(kept.c.at_us).where(
    kept.c.kind == _KIND, kept.c.name == _NAME
)
_AT = sa.func.coalesce(events.c.t_us, events.c.received_us)


def expiring(backend: Backend, cutoffs: Cutoffs) -> Expired:
    """Return how many rows would go; changes nothing."""
    told = {}
    with backend.read() as con:
        for name, (rule, table) in _rules(cutoffs).items():
            count = sa.select(sa.func.count()).select_from(table).where(rule)
            told[name] = int(con.execute(count).scalar_one())
    return Expired(**told)


def expire(backend: Backend, cutoffs: Cutoffs, *, at_us: int) -> Expired:
    """Remove what is older than its cut-off; return what went.

    Events without a time go by the moment of their arrival. From the first transaction on, events
    before the cut-off are refused as ``expired``. A call that is broken off is continued by the
    next one. The lake follows from the record of removals.
    """
    told = dict.fromkeys(_rules(cutoffs), 0)
    if cutoffs.events_us is not None:
        _move_boundary(backend, cutoffs.events_us)
        n, last = _expire_some(backend, cutoffs.events_us, after=0, at_us=at_us)
        while n:
            told["events"] += n
            n, last = _expire_some(backend, cutoffs.events_us, after=last, at_us=at_us)
        with backend.write() as con:
            span = sa.select(sa.func.min(events.c.t_us), sa.func.max(events.c.t_us))
            oldest, newest = con.execute(span).one()
            times = {"first_event_us": oldest, "last_event_us": newest}
            con.execute(sa.update(clock_table).values(**times))
    for name, (rule, table) in _rules(cutoffs).items():
        if table is not events:
            with backend.write() as con:
                told[name] = int(con.execute(sa.delete(table).where(rule)).rowcount)
    if any(told.values()):
        backend.scrub()
    return Expired(**told)


def without_expired(
    backend: Backend, con: sa.Connection, rows: pl.DataFrame, why: pl.Series
) -> tuple[pl.DataFrame, pl.Series]:
    """Take events that are older than what is kept out of ``rows``, those where ``why`` is null."""
    found = backend.fetch(con, _BOUNDARY, {})
    if not found:
        return rows, why
    late = (rows["t_us"] < int(found[0][0])).fill_null(value=False)
    if not late.any():
        return rows, why
    at = why.is_null().arg_true().filter(late)
    return rows.filter(~late), why.scatter(at, [EXPIRED] * len(at))


def _rules(cutoffs: Cutoffs) -> dict[str, tuple[sa.ColumnElement[bool], sa.Table]]:
    rules: Mapping[str, tuple[sa.ColumnElement[int], int | None, sa.Table]] = {
        "events": (_AT, cutoffs.events_us, events),
        "decisions": (decisions.c.t_us, cutoffs.decisions_us, decisions),
        "quarantined": (quarantine.c.received_us, cutoffs.quarantine_us, quarantine),
        "audited": (identity_audit.c.at_us, cutoffs.audit_us, identity_audit),
        "repairs": (repairs.c.at_us, cutoffs.audit_us, repairs),
    }
    return {n: (at < cut, table) for n, (at, cut, table) in rules.items() if cut is not None}


def _move_boundary(backend: Backend, before_us: int) -> None:
    """Refuse older events from now on; the boundary only ever moves forward."""
    mine = sa.and_(kept.c.kind == _KIND, kept.c.name == _NAME)
    with backend.write() as con:
        held = con.execute(_BOUNDARY).scalar()
        if held is None:
            con.execute(sa.insert(kept).values(kind=_KIND, name=_NAME, body="{}", at_us=before_us))
        elif held < before_us:
            con.execute(sa.update(kept).where(mine).values(at_us=before_us))


def _expire_some(backend: Backend, before_us: int, *, after: int, at_us: int) -> tuple[int, int]:
    """Remove the next events after a number; return how many, and the last of their numbers."""
    query = sa.select(events.c.seq).where(before_us > _AT, events.c.seq > after)
    with backend.write() as con:
        found = con.execute(query.order_by(events.c.seq).limit(AT_ONCE)).scalars()
        seqs = [int(seq) for seq in found]
        if not seqs:
            return 0, after
        among = sa.and_(events.c.seq >= seqs[0], events.c.seq <= seqs[-1], before_us > _AT)
        inside = sa.select(events.c.seq).where(among)
        paired = con.execute(
            sa.select(superseded.c.seq).where(superseded.c.seq.in_(inside))
        ).scalars()
        pairs = np.array(sorted(int(seq) for seq in paired), dtype=np.int64)
        drop_pairs(con, pairs.tolist())
        con.execute(sa.delete(events).where(among))
        body = {"before_us": before_us, "gone": ranges(pairs)}
        con.execute(
            sa.insert(removals).values(
                why="expired", at_us=at_us, seqs=len(seqs), body=json.dumps(body)
            )
        )
        clock.take(con, 0)
        return len(seqs), seqs[-1]
