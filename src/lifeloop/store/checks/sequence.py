"""Whether every sequence number is where it should be: the proof that no row was lost."""

import json
from collections.abc import Iterator

import numpy as np
import polars as pl
import sqlalchemy as sa

from lifeloop.contracts import Finding, Long
from lifeloop.store import clock
from lifeloop.store.backend import Backend
from lifeloop.store.tables import events, items, links, removals, superseded, users

_NUMBERED = (events, users, items, links)
_SHOWN = 5
_NEXT = "lifeloop restore the newest sound backup, and import what came after it again"


def sequence(backend: Backend) -> Iterator[Finding]:
    """Say which numbers are missing, used twice, or beyond the counter.

    Each number from 1 to the counter belongs to one row of one table, or to a row that an
    erasure or the retention gave up, whose count the record of removals keeps.
    """
    with backend.read() as con:
        newest = clock.newest(con)
        given_up = int(
            con.execute(sa.select(sa.func.coalesce(sa.func.sum(removals.c.seqs), 0))).scalar_one()
        )
        rows = 0
        beyond = 0
        for table in _NUMBERED:
            rows += int(con.execute(sa.select(sa.func.count(table.c.seq))).scalar_one())
            top = con.execute(sa.select(sa.func.max(table.c.seq))).scalar() or 0
            beyond = max(beyond, int(top))
    if beyond > newest:
        yield Finding(
            "sequence",
            "failure",
            f"a row has the number {beyond:,}, and the counter stands at {newest:,}: the next "
            "write would take numbers that are in use",
            next=_NEXT,
        )
        return
    missing = newest - rows - given_up
    if not missing:
        said = f"all {newest:,} numbers are accounted for"
        said += f", {given_up:,} of them erased or expired" if given_up else ""
        yield Finding("sequence", "ok", said, count=newest)
        return
    gaps, doubled = _where(backend, newest)
    if missing > 0:
        yield Finding(
            "sequence",
            "failure",
            f"{missing:,} rows are gone that nothing erased",
            count=missing,
            examples=tuple(gaps[:_SHOWN]),
            next=_NEXT,
        )
    else:
        yield Finding(
            "sequence",
            "failure",
            "numbers were given twice, or rows came back that were erased",
            count=-missing,
            examples=tuple(doubled[:_SHOWN]),
            next=_NEXT,
        )


def _where(backend: Backend, newest: int) -> tuple[list[str], list[str]]:
    """Return the gaps that no removal names, as ranges, and the numbers used more than once."""
    used = [
        backend.frame(sa.select(table.c.seq).order_by(table.c.seq), {"seq": pl.Int64})["seq"]
        for table in _NUMBERED
    ]
    numbers: Long = np.sort(pl.concat(used).to_numpy())
    twice = np.unique(numbers[1:][np.diff(numbers) == 0])
    free = np.ones(newest + 2, dtype=np.bool_)
    free[0] = free[newest + 1] = False
    free[numbers[numbers <= newest]] = False
    with backend.read() as con:
        bodies = [json.loads(body) for body in con.execute(sa.select(removals.c.body)).scalars()]
    for body in bodies:
        for first, last in body.get("gone", []):
            free[first : last + 1] = False
    if any(body.get("before_us") is not None for body in bodies):
        free[:] = False  # what has expired is counted, not named: the gaps cannot be told apart
    edges = np.flatnonzero(np.diff(free.astype(np.int8))).reshape(-1, 2)  # [n, 2]
    spans = [(before + 1, last) for before, last in edges.tolist()]
    gaps = [f"{a:,}" if a == b else f"{a:,} to {b:,}" for a, b in spans]
    return gaps, [f"{n:,}" for n in twice.tolist()]


def superseded_pairs(backend: Backend) -> Iterator[Finding]:
    """Say which order lines are hidden by a version that is not there."""
    newer = events.alias("newer")
    lost = (
        sa.select(superseded.c.seq, superseded.c.by_seq)
        .join(events, events.c.seq == superseded.c.seq)
        .outerjoin(newer, newer.c.seq == superseded.c.by_seq)
        .where(newer.c.seq.is_(None))
    )
    given_up = sa.select(removals.c.body)
    with backend.read() as con:
        pairs = [(int(a), int(b)) for a, b in con.execute(lost)]
        bodies = [json.loads(body) for body in con.execute(given_up).scalars()]
    erased = [span for body in bodies for span in body.get("gone", [])]
    expired = any(body.get("before_us") is not None for body in bodies)
    gone = [
        (a, b)
        for a, b in pairs
        if not expired and not any(first <= b <= last for first, last in erased)
    ]
    if gone:
        yield Finding(
            "versions",
            "failure",
            "order lines are hidden by a newer version that is gone",
            count=len(gone),
            examples=tuple(f"{a:,} by {b:,}" for a, b in gone[:_SHOWN]),
            next=_NEXT,
        )
        return
    yield Finding("versions", "ok", "every replaced order line has the line that replaced it")
