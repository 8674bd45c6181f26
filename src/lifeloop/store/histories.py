"""One person's events, newest by index, oldest first; and which visitors are that person."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from lifeloop.contracts import UNTIMED, Double, History
from lifeloop.errors import InputError
from lifeloop.events.records import ANONYMOUS_PREFIX
from lifeloop.store.backend import LAST, Backend, Fetch, bound
from lifeloop.store.tables import events, links, superseded, users

MANY = 2**31 - 1
"""A limit that no history reaches."""

COLUMNS = (
    events.c.type,
    events.c.item_id,
    events.c.t_us,
    events.c.value,
    events.c.quantity,
    events.c.rating,
    events.c.order_id,
    events.c.text,
    events.c.is_bot,
    events.c.seq,
)
"""What is read of an event."""

Row = tuple[Any, ...]
"""One event as read: ``COLUMNS``."""


def read_histories(
    backend: Backend,
    user_ids: Sequence[str],
    *,
    as_of_us: int | None,
    seq: int | None,
    limit: int | None,
) -> list[History]:
    """Return the history of each id, in the order asked.

    ``anon:<id>`` names a visitor who was not linked at ``seq``; once linked, the events belong
    to the user, and the visitor's own name answers with an empty history, ``known=False``: a
    merged visitor counts once.

    Raises
    ------
    InputError
        If ``limit`` is negative.
    """
    if limit is not None and limit < 0:
        raise InputError("a history cannot have a negative length", got=limit, allowed="0 or more")
    bounds = {
        "as_of": bound(as_of_us),
        "known": bound(seq),
        "n": MANY if limit is None else limit,
    }
    with backend.hot() as fetch:
        return [history_in(fetch, user_id, bounds) for user_id in user_ids]


def history_in(fetch: Fetch, user_id: str, bounds: Mapping[str, int]) -> History:
    """Return one history within a read that is open: ``bounds`` are as_of, known and n."""
    if user_id.startswith(ANONYMOUS_PREFIX):
        visitor = user_id.removeprefix(ANONYMOUS_PREFIX)
        if fetch(LINKED, {"visitor": visitor, **bounds}):
            return as_history(user_id, [], known=False)
        rows = fetch(BY_VISITOR, {"person": visitor, **bounds})
        return as_history(user_id, rows, known=bool(rows))
    rows = fetch(BY_USER, {"person": user_id, **bounds})
    visitors = fetch(VISITORS, {"person": user_id, **bounds})
    for (visitor,) in visitors:
        rows += fetch(BY_VISITOR, {"person": visitor, **bounds})
    if visitors:
        rows.sort(key=moment_of, reverse=True)
        del rows[bounds["n"] :]
    known = bool(rows or visitors or fetch(_IS_USER, {"person": user_id, **bounds}))
    return as_history(user_id, rows, known=known)


def linked_to(con: sa.Connection, anonymous_id: str, *, seq: int = LAST) -> str | None:
    """Return the user an anonymous id was linked to by ``seq``, None when it was not."""
    found = con.execute(LINKED, {"visitor": anonymous_id, "known": seq}).scalar()
    return None if found is None else str(found)


def moment_of(row: Row) -> tuple[int, int]:
    """Return where an event stands in a history: by time, those without one first."""
    return (UNTIMED if row[2] is None else row[2], row[-1])


def _newest_first(person: sa.ColumnElement[bool]) -> sa.Select[Any]:
    known: sa.BindParameter[int] = sa.bindparam("known")
    replaced = sa.exists().where(superseded.c.seq == events.c.seq, superseded.c.by_seq <= known)
    return (
        sa.select(*COLUMNS)
        .where(
            person,
            sa.or_(events.c.t_us.is_(None), events.c.t_us < sa.bindparam("as_of")),
            events.c.seq <= known,
            ~replaced,
        )
        .order_by(events.c.t_us.desc().nulls_last(), events.c.seq.desc())
        .limit(sa.bindparam("n"))
    )


_PERSON: sa.BindParameter[str] = sa.bindparam("person")
BY_USER = _newest_first(events.c.user_id == _PERSON)
BY_VISITOR = _newest_first(sa.and_(events.c.user_id.is_(None), events.c.anonymous_id == _PERSON))
LINKED = sa.select(links.c.user_id).where(
    links.c.anonymous_id == sa.bindparam("visitor"), links.c.seq <= sa.bindparam("known")
)
_IS_USER = (
    sa.select(users.c.seq)
    .where(users.c.user_id == _PERSON, users.c.seq <= sa.bindparam("known"))
    .limit(1)
)
VISITORS = sa.select(links.c.anonymous_id).where(
    links.c.user_id == _PERSON, links.c.seq <= sa.bindparam("known")
)


def as_history(user_id: str, newest_first: list[Row], *, known: bool) -> History:
    """Return the history of these rows, oldest first."""
    columns = list(zip(*reversed(newest_first), strict=True)) or [()] * len(COLUMNS)
    kinds, item_ids, times, values, quantities, ratings, orders, texts, bots, seqs = columns
    if None in times:
        times = tuple(UNTIMED if t is None else t for t in times)
    return History(
        user_id=user_id,
        known=known,
        type=kinds,
        item_id=item_ids,
        t_us=np.array(times, dtype=np.int64),
        value=_numbers(values),
        quantity=_numbers(quantities),
        rating=_numbers(ratings),
        order_id=orders,
        text=texts,
        is_bot=np.array(bots, dtype=np.bool_),
        seq=np.array(seqs, dtype=np.int64),
    )


def _numbers(values: Sequence[float | None]) -> Double:
    """Return a column of numbers, NaN for None; most columns hold none at all, or nothing else."""
    if values.count(None) == len(values):
        return np.full(len(values), np.nan)
    return np.array(values, dtype=np.float64)
