"""What processes that share a store must tell each other: keys, sessions, jobs. Small and few."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from lifeloop.store.backend import Backend
from lifeloop.store.tables import kept


class SqlKept:
    """Named JSON objects of a few kinds; see ``lifeloop.contracts.Kept``."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def put(self, kind: str, name: str, body: Mapping[str, Any], *, at_us: int) -> None:
        """Keep an object under a name, in place of an earlier one; durable before it returns."""
        row = {"body": json.dumps(dict(body), ensure_ascii=False, allow_nan=False), "at_us": at_us}
        with self._backend.write() as con:
            done = con.execute(sa.update(kept).where(_is(kind, name)).values(**row))
            if not done.rowcount:
                con.execute(sa.insert(kept).values(kind=kind, name=name, **row))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return one object, None where there is none."""
        with self._backend.read() as con:
            body = con.execute(sa.select(kept.c.body).where(_is(kind, name))).scalar()
        return None if body is None else dict(json.loads(body))

    def every(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return all objects of a kind by name, oldest first."""
        query = sa.select(kept.c.name, kept.c.body).where(kept.c.kind == kind)
        with self._backend.read() as con:
            rows = con.execute(query.order_by(kept.c.at_us, kept.c.name)).all()
        return {str(name): json.loads(body) for name, body in rows}

    def drop(self, kind: str, name: str) -> bool:
        """Forget one object; return whether it was there."""
        with self._backend.write() as con:
            return bool(con.execute(sa.delete(kept).where(_is(kind, name))).rowcount)


def _is(kind: str, name: str) -> sa.ColumnElement[bool]:
    return sa.and_(kept.c.kind == kind, kept.c.name == name)
