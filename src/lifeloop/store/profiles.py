"""One person's record and history, both of one moment: what every request asks of a person.

One statement for all of it, because a trip to a server costs more than what it brings here. Its
rows are told apart by their first column: the record, the events, and who the person was as a
visitor.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from lifeloop.contracts import History
from lifeloop.errors import InputError
from lifeloop.events.records import ANONYMOUS_PREFIX, USER_SCHEMA, User
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
from lifeloop.store.tables import users
from lifeloop.store.versions import fields_of

_EVENT, _VISITOR, _RECORD = range(3)


def read_profile(backend: Backend, user_id: str) -> tuple[User | None, History]:
    """Return the record of a user, None where there is none, and their whole history.

    Raises
    ------
    InputError
        If the id is a visitor's: visitors have no record.
    """
    if user_id.startswith(ANONYMOUS_PREFIX):
        raise InputError("a visitor has no record", got=user_id, hint="ask for histories()")
    bounds = {"as_of": LAST, "known": LAST, "n": MANY}
    values = {"person": user_id, **bounds}
    with backend.once() as fetch:
        found = fetch(PROFILE, values)
    if any(row[0] == _VISITOR for row in found):  # their events are looked up by other names
        with backend.hot() as fetch:
            history = history_in(fetch, user_id, bounds)
            return _record(fetch(RECORD, values)), history
    record = _record([row[_AT:] for row in found if row[0] == _RECORD])
    rows = [row[1:_AT] for row in found if row[0] == _EVENT]
    rows.sort(key=moment_of, reverse=True)
    return record, as_history(user_id, rows, known=bool(rows) or record is not None)


def _record(rows: list[tuple[Any, ...]]) -> User | None:
    return User(**fields_of(dict(zip(USER_SCHEMA, rows[0], strict=True)))) if rows else None


def _part(part: int, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    return sa.select(sa.literal_column(str(part), sa.Integer).label("part"), *columns)


def _absent(columns: Sequence[sa.Column[Any]]) -> list[sa.ColumnElement[Any]]:
    # typed: a union of more than two needs to know
    return [sa.cast(sa.null(), column.type).label(column.name) for column in columns]


_PERSON: sa.BindParameter[str] = sa.bindparam("person")
_OF_USER = [users.c[name] for name in USER_SCHEMA]
_newest = sa.select(sa.func.max(users.c.seq)).where(
    users.c.user_id == _PERSON, users.c.seq <= sa.bindparam("known")
)
_AT = 1 + len(COLUMNS)
_VISITORS = VISITORS.subquery("visitors")
_EVENTS = BY_USER.subquery("own")
RECORD = sa.select(*_OF_USER).where(users.c.seq == _newest.scalar_subquery())
"""The read of a user's record alone."""

_WHOLE = sa.union_all(
    _part(_EVENT, *_EVENTS.c, *_absent(_OF_USER)),
    _part(_VISITOR, *_absent(COLUMNS), _VISITORS.c.anonymous_id, *_absent(_OF_USER[1:])),
    _part(_RECORD, *_absent(COLUMNS), *RECORD.subquery("record").c),
).subquery("whole")
PROFILE = sa.select(*_WHOLE.c)
"""The read of everything."""
