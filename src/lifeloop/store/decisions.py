"""The decision log: every slate as it was decided, written before it is answered."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import sqlalchemy as sa

from lifeloop.contracts import Decision
from lifeloop.errors import InputError, StoreError
from lifeloop.events.records import ANONYMOUS_PREFIX
from lifeloop.store import clock
from lifeloop.store.backend import Backend, bound
from lifeloop.store.tables import decisions
from lifeloop.store.tombstones import MAY_BE_ERASED, erased_of, marks_for

NAMELESS = "erased"
"""Whose slate it is, where the person was erased."""

_PAGE = 500
BY_REQUEST = sa.select(decisions).where(decisions.c.request_id == sa.bindparam("request"))
"""The read of one slate."""

_OWN = ("request_id", "user_id", "t_us", "seq")  # columns; the rest is the body


def log(backend: Backend, decision: Decision) -> None:
    """Log one slate; the same slate again (a replayed spool) is a no-op.

    The slate of a person who was erased is logged without their name and their context.

    Raises
    ------
    InputError
        If a score or a propensity is not a finite number.
    StoreError
        If another slate was logged under the same request id.
    """
    row = _columns(decision)
    users, visitors = _as_names(decision.user_id)
    marks = marks_for(backend, decision.user_id)
    if backend.put_unless(decisions, row, unless=MAY_BE_ERASED, values=marks):
        return
    with backend.beside() as con:
        if erased_of(backend, con, users=users, visitors=visitors):
            row = _columns(replace(decision, user_id=NAMELESS, context={}))
        if backend.put(con, decisions, row):
            return
    with backend.write() as con:
        held = con.execute(BY_REQUEST, {"request": decision.request_id}).one()._mapping
        if {name: held[name] for name in row} == row:
            clock.take(con, 0)
        else:
            raise StoreError(
                "another slate was logged under this request id",
                got=decision.request_id,
                hint="give every request its own id",
            )


def _columns(decision: Decision) -> dict[str, Any]:
    # not dataclasses.asdict: it copies every candidate, once per request
    told: dict[str, Any] = {f.name: getattr(decision, f.name) for f in fields(decision)}
    row = {name: told.pop(name) for name in _OWN}
    try:
        row["body"] = json.dumps(told, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError as error:
        raise InputError(
            f"a decision holds a number that is not finite ({error})",
            got=decision.request_id,
            hint="leave candidates without a score out of the slate",
        ) from None
    return row


def _as_names(person: str) -> tuple[list[str], list[str]]:
    if person.startswith(ANONYMOUS_PREFIX):
        return [], [person.removeprefix(ANONYMOUS_PREFIX)]
    return [person], []


def read(backend: Backend, *, from_seq: int, to_seq: int | None) -> Iterator[Decision]:
    """Yield slates with ``from_seq`` ≤ seq ≤ ``to_seq``, by seq, then in order of logging."""
    after = (from_seq, 0)
    while True:
        query = (
            sa.select(decisions)
            .where(
                sa.tuple_(decisions.c.seq, decisions.c.id) > sa.tuple_(*after),
                decisions.c.seq <= bound(to_seq),
            )
            .order_by(decisions.c.seq, decisions.c.id)
            .limit(_PAGE)
        )
        with backend.read() as con:  # a page at a time, so that no read stays open meanwhile
            rows = con.execute(query).all()
        for row in rows:
            yield _decision(row)
        if len(rows) < _PAGE:
            return
        after = (rows[-1].seq, rows[-1].id)


def newest(backend: Backend, n: int, *, to_seq: int | None) -> Iterator[Decision]:
    """Yield at most n slates with seq ≤ ``to_seq``, from the last by seq and logging backwards."""
    before: tuple[int, int] | None = None
    while n > 0:
        query = sa.select(decisions).where(decisions.c.seq <= bound(to_seq))
        if before is not None:
            query = query.where(sa.tuple_(decisions.c.seq, decisions.c.id) < sa.tuple_(*before))
        query = query.order_by(decisions.c.seq.desc(), decisions.c.id.desc()).limit(min(n, _PAGE))
        with backend.read() as con:  # a page at a time, so that no read stays open meanwhile
            rows = con.execute(query).all()
        for row in rows:
            yield _decision(row)
        n -= len(rows)
        if len(rows) < _PAGE:
            return
        before = (rows[-1].seq, rows[-1].id)


def of(backend: Backend, request_ids: Sequence[str]) -> list[Decision | None]:
    """Return the slate logged under each request id, in the order asked."""
    query = sa.select(decisions).where(decisions.c.request_id.in_(list(request_ids)))
    with backend.read() as con:
        found = {row.request_id: _decision(row) for row in con.execute(query)}
    return [found.get(request_id) for request_id in request_ids]


def _decision(row: sa.Row[Any]) -> Decision:
    body = json.loads(row.body)
    for name in ("candidate_ids", "candidate_scores", "slate_ids", "propensities"):
        body[name] = None if body[name] is None else tuple(body[name])
    own = {name: row._mapping[name] for name in _OWN}
    return Decision(**own, **body)


def _plain(value: object) -> object:
    item = getattr(value, "item", None)  # numpy's scalars
    if callable(item):
        return item()
    raise InputError("a decision holds a value that JSON cannot hold", got=value)
