"""Who was erased, known only by keyed hashes; and what is refused because of it.

A tombstone is ``HMAC-SHA-256(key, kind, id)``. The database alone therefore does not say who was
erased, and with the key (``secret.py``) it says so only of an id that one already holds.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import sqlalchemy as sa

from lifeloop.errors import StoreError
from lifeloop.events.records import ANONYMOUS_PREFIX
from lifeloop.store.backend import Backend
from lifeloop.store.ledger import Ledger, Marks
from lifeloop.store.secret import FILE, VARIABLE, mark
from lifeloop.store.tables import tombstones

ERASED = "erased"
"""Why a row of an erased person is refused."""

USER, VISITOR, KEY = "user", "visitor", "key"

_ANY: sa.Select[Any] = sa.select(tombstones.c.kind).limit(1)
_KEYS: sa.Select[Any] = sa.select(tombstones.c.mark).where(tombstones.c.kind == KEY)
_OF_KEY, _OWN = tombstones.alias("of_key"), tombstones.alias("own")
MAY_BE_ERASED: sa.Select[Any] = (
    sa.select(tombstones.c.kind)
    .where(
        sa.or_(
            ~sa.exists().where(_OF_KEY.c.mark == sa.bindparam("key_mark")),
            sa.exists().where(_OWN.c.mark == sa.bindparam("own_mark")),
        )
    )
    .limit(1)
)
"""Finds nothing where nobody was ever erased, or all were by the key of ``marks_for`` and not
this person. Where it finds something ``erased_of`` says what that means."""

_PERSON = re.compile(
    r"user|customer|client|visitor|member|anon|device|account|household|person|buyer|player|"
    r"distinct|cookie|reviewer|uid|openid|unionid|mail|用户|会员|客户|顾客|买家|匿名|设备",
    re.IGNORECASE,
)
_TELLING = 6  # an id this long, not digits alone, is a person's wherever it stands


@dataclass(frozen=True, slots=True)
class Erased:
    """Those of some people who were erased."""

    users: frozenset[str] = frozenset()
    visitors: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.users or self.visitors)

    def person(self, name: str) -> bool:
        """Return whether a person as histories name them was erased."""
        if name.startswith(ANONYMOUS_PREFIX):
            return name.removeprefix(ANONYMOUS_PREFIX) in self.visitors
        return name in self.users


NOBODY = Erased()


def erased_of(
    backend: Backend, con: sa.Connection, *, users: Iterable[str], visitors: Iterable[str]
) -> Erased:
    """Return those of these people who were erased; no cost where nobody ever was.

    Raises
    ------
    StoreError
        If people were erased and the key that recognises them is missing or another one.
    """
    if not backend.fetch(con, _ANY, {}):
        return NOBODY
    key = key_of(backend, con)
    named = {mark(key, USER, name): (USER, name) for name in users}
    named |= {mark(key, VISITOR, name): (VISITOR, name) for name in visitors}
    query = sa.select(tombstones.c.mark).where(tombstones.c.mark.in_(backend.listed))
    found = con.execute(query, {"ids": backend.packed(list(named))}).scalars()
    told = [named[str(held)] for held in found]
    return Erased(
        users=frozenset(name for kind, name in told if kind == USER),
        visitors=frozenset(name for kind, name in told if kind == VISITOR),
    )


def marks_for(backend: Backend, person: str) -> dict[str, str]:
    """Return the parameters of ``MAY_BE_ERASED`` for a person as histories name them."""
    try:
        key = backend.secret.held()
    except StoreError:  # told where it is needed
        key = None
    if key is None:
        return {"key_mark": "", "own_mark": ""}
    kind = VISITOR if person.startswith(ANONYMOUS_PREFIX) else USER
    own = mark(key, kind, person.removeprefix(ANONYMOUS_PREFIX))
    return {"key_mark": mark(key, KEY, ""), "own_mark": own}


def key_of(backend: Backend, con: sa.Connection) -> bytes:
    """Return the key that made the tombstones of this store."""
    key = backend.secret.held()
    made = {str(row[0]) for row in backend.fetch(con, _KEYS, {})}
    if key is not None and mark(key, KEY, "") in made:
        return key
    state = "is missing" if key is None else "is not the one that made its tombstones"
    raise StoreError(
        f"people were erased from this store, and the key that recognises them {state}; "
        "nothing is stored until it is back, so that nobody erased comes back unnoticed",
        got=f"no {FILE} in {str(backend.secret.folder)!r}, no {VARIABLE}" if key is None else FILE,
        hint=f"put the {FILE} of this project there, or set {VARIABLE} to what it holds",
    )


def bury(
    backend: Backend,
    con: sa.Connection,
    *,
    users: Iterable[str],
    visitors: Iterable[str],
    at_us: int,
) -> None:
    """Set the tombstones of people, in the ledger too; the key is made with the first."""
    there = bool(backend.fetch(con, _ANY, {}))
    key = key_of(backend, con) if there else backend.secret.made()
    people = [(KEY, ""), *((USER, name) for name in users)]
    people += [(VISITOR, name) for name in visitors]
    marks = {mark(key, kind, name): (kind, at_us) for kind, name in people}
    raise_marks(backend, con, marks)
    Ledger(backend.secret.folder).add({**marks_held(con), **marks})


def raise_marks(backend: Backend, con: sa.Connection, marks: Marks) -> None:
    """Set tombstones whose marks are known already."""
    for held, (kind, at_us) in marks.items():
        backend.put(con, tombstones, {"mark": held, "kind": kind, "at_us": at_us})


def marks_held(con: sa.Connection) -> Marks:
    """Return every tombstone of the database."""
    return {str(row.mark): (row.kind, row.at_us) for row in con.execute(sa.select(tombstones))}


# ---------------------------------------------------------------- what is refused


def without_erased(
    backend: Backend, con: sa.Connection, rows: pl.DataFrame, why: pl.Series
) -> tuple[pl.DataFrame, pl.Series]:
    """Take the events of erased people out of ``rows``, which are those where ``why`` is null.

    An event that another user did on the device of an erased person stays, without the device.
    """
    users, visitors = rows["user_id"].drop_nulls(), rows["anonymous_id"].drop_nulls()
    found = erased_of(backend, con, users=users.unique(), visitors=visitors.unique())
    if not found:
        return rows, why
    device = pl.col("anonymous_id").is_in(list(found.visitors)).fill_null(False)
    user = pl.col("user_id").is_in(list(found.users)).fill_null(False)
    rows = rows.with_columns(gone=user | (pl.col("user_id").is_null() & device))
    kept = rows.filter(~pl.col("gone")).drop("gone")
    kept = kept.with_columns(anonymous_id=pl.when(~device).then("anonymous_id"))
    return kept, marked(why, rows["gone"])


def marked(why: pl.Series, gone: pl.Series) -> pl.Series:
    """Say ``erased`` in those places of ``why`` that were null and are gone [n]."""
    at = why.is_null().arg_true().filter(gone)
    return why.scatter(at, [ERASED] * len(at)) if len(at) else why


def names_in(raw: Mapping[str, Any]) -> Iterator[str]:
    """Yield every text of a refused row that may be the id of a person.

    A short id or plain digits only under a column that speaks of people: a quantity of 7 does
    not name user 7.
    """
    for key, value in _leaves(raw, ""):
        text = str(value)
        if _PERSON.search(key) or (len(text) >= _TELLING and not text.isdigit()):
            yield text


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, held in value.items():
            yield from _leaves(held, str(name))
    elif isinstance(value, list | tuple):
        for held in value:
            yield from _leaves(held, key)
    elif value is not None and not isinstance(value, bool):
        yield key, value
