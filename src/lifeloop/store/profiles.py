"""Where the store stands, one person's record and their history: what every request asks.

All of one moment. Where a statement is a trip to a server, which costs more than what it brings
here, one statement says it: its rows are told apart by their first column: the head, the record,
the events, and who the person was as a visitor. In this process a few short statements do.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from lifeloop.contracts import Head, Profile
from lifeloop.errors import InputError
from lifeloop.events.records import ANONYMOUS_PREFIX, USER_SCHEMA, User
from lifeloop.store import registry, removed, versions
from lifeloop.store.backend import LAST, Backend
from lifeloop.store.histories import (
    BY_USER,
    COLUMNS,
    MANY,
    VISITORS,
    as_history,
    history_in,
    moment_of,
)
from lifeloop.store.tables import clock, users

_EVENT, _VISITOR, _RECORD, _HEAD = range(4)
_BOUNDS = {"as_of": LAST, "known": LAST, "n": MANY}


def read_profile(backend: Backend, user_id: str) -> Profile:
    """Return the head, the record of a user and their whole history.

    Raises
    ------
    InputError
        If the id is a visitor's: visitors have no record.
    """
    if user_id.startswith(ANONYMOUS_PREFIX):
        raise InputError("a visitor has no record", got=user_id, hint="ask for histories()")
    if not backend.remote:
        return _piecewise(backend, user_id)
    with backend.once() as fetch:
        found = fetch(PROFILE, {"person": user_id, **_BOUNDS})
    if any(row[0] == _VISITOR for row in found):  # their events are looked up by other names
        return _piecewise(backend, user_id)
    ((seq, *rest),) = (_held(row, _OF_HEAD) for row in found if row[0] == _HEAD)
    record = _record(user_id, [_held(row, _OF_RECORD) for row in found if row[0] == _RECORD])
    rows = [row[1:_END] for row in found if row[0] == _EVENT]
    rows.sort(key=moment_of, reverse=True)
    known = bool(rows) or record is not None
    return Profile(Head(seq, *rest), record, as_history(user_id, rows, known=known))


def _piecewise(backend: Backend, user_id: str) -> Profile:
    with backend.hot() as fetch:
        head = Head(*fetch(HEAD, {})[0])
        record = _record(user_id, fetch(RECORD, {"person": user_id, **_BOUNDS}))
        return Profile(head, record, history_in(fetch, user_id, _BOUNDS))


def _held(row: tuple[Any, ...], names: Sequence[str]) -> list[Any]:
    return [row[_PLACE[name]] for name in names]


def _record(user_id: str, rows: Sequence[Sequence[Any]]) -> User | None:
    if not rows:
        return None
    fields = dict(zip(USER_SCHEMA, [user_id, *rows[0]], strict=True))
    return User(**versions.fields_of(fields))


# What is no event lies in columns of an event of the same type, and in three more numbers: a
# short statement, which the driver keeps as it is (up to 4,096 bytes), with few columns.
_MORE = ("more_1", "more_2", "more_3")
_NAMES = ("part", *(column.name for column in COLUMNS), *_MORE)
_PLACE = {name: place for place, name in enumerate(_NAMES)}
_END = 1 + len(COLUMNS)
_OF_VISITOR = ("type",)
_OF_RECORD = ("t_us", "type", "item_id", "order_id")
_OF_HEAD = ("seq", "t_us", "more_1", "type", "more_2", "more_3")


def _part(part: int, held: Mapping[str, sa.ColumnElement[Any]]) -> sa.Select[Any]:
    nothing = [held.get(name, sa.null()).label(name) for name in _NAMES[1:]]
    return sa.select(sa.literal_column(str(part), sa.Integer).label("part"), *nothing)


def _in(names: Sequence[str], columns: Iterable[Any]) -> dict[str, sa.ColumnElement[Any]]:
    return dict(zip(names, columns, strict=True))


_PERSON: sa.BindParameter[str] = sa.bindparam("person")
_newest = sa.select(sa.func.max(users.c.seq)).where(
    users.c.user_id == _PERSON, users.c.seq <= sa.bindparam("known")
)
RECORD = sa.select(*(users.c[name] for name in USER_SCHEMA if name != "user_id")).where(
    users.c.seq == _newest.scalar_subquery()
)
"""The read of a user's record alone, without the id."""

_CLOCK = clock.c
HEAD = sa.select(
    _CLOCK.seq,
    _CLOCK.first_event_us,
    _CLOCK.last_event_us,
    registry.newest_activation().label("bundle"),
    versions.newest_item().label("items_seq"),
    removed.newest().label("removal"),
)
"""The read of the head alone, in the order of its fields."""

_EVENTS = _in(_NAMES[1:_END], BY_USER.subquery("own").c)
_WHOLE = sa.union_all(
    # the first says what type each column has
    _part(_EVENT, {**_EVENTS, **{name: sa.cast(sa.null(), sa.BigInteger) for name in _MORE}}),
    _part(_VISITOR, _in(_OF_VISITOR, VISITORS.subquery("visitors").c)),
    _part(_RECORD, _in(_OF_RECORD, RECORD.subquery("record").c)),
    _part(_HEAD, _in(_OF_HEAD, HEAD.subquery("head").c)),
).subquery("whole")
PROFILE = sa.select(*_WHOLE.c)
"""The read of everything."""
