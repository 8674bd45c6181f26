"""What one database must bring: connections, bulk writes and bulk reads.

Everything else of the store is written once, over SQLAlchemy Core, on top of these few
operations; ``sqlite.py`` and ``postgres.py`` are the implementations.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import polars as pl
import sqlalchemy as sa

from lifeloop.store.secret import Secret

Values = Mapping[str, Any]
"""Values by the name of a column or a parameter."""

Fetch = Callable[[sa.Select[Any], Mapping[str, Any]], list[tuple[Any, ...]]]
"""Runs one small read: a statement that is a constant of its module, and its parameters."""


class Backend(Protocol):
    """One open database."""

    secret: Secret
    """Where the key of the erasures is kept."""

    @property
    def url(self) -> str:
        """The database URL, without any password."""
        ...

    @property
    def longest_key(self) -> int | None:
        """The most bytes of a text that an index can hold, None where there is no limit."""
        ...

    @property
    def remote(self) -> bool:
        """Whether a statement is a trip to a server, so that one long one beats a few short."""
        ...

    def read(self) -> AbstractContextManager[sa.Connection]:
        """Open one consistent read; it cannot write."""
        ...

    def hot(self) -> AbstractContextManager[Fetch]:
        """Open one consistent read for what every request asks, without the layers between."""
        ...

    def once(self) -> AbstractContextManager[Fetch]:
        """Open the same for one statement, which needs no transaction around it."""
        ...

    def write(self) -> AbstractContextManager[sa.Connection]:
        """Open the one write transaction; durable once the block has ended."""
        ...

    def beside(self) -> AbstractContextManager[sa.Connection]:
        """Open a write that takes no number: it waits for writers, not for others of its kind."""
        ...

    def bulk(self) -> AbstractContextManager[None]:
        """Let this thread's writes become durable together, at the end of the block."""
        ...

    @property
    def listed(self) -> sa.Select[Any]:
        """Any number of texts as a one-column subquery over the parameter ``ids``, for ``IN``."""
        ...

    def packed(self, values: Sequence[str]) -> object:
        """Return texts as the parameter ``ids`` of ``listed``."""
        ...

    def insert(self, con: sa.Connection, table: sa.Table, rows: pl.DataFrame) -> None:
        """Insert rows whose columns are columns of ``table``."""
        ...

    def put(self, con: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> bool:
        """Insert one row unless a unique key of it is held; return whether it was inserted."""
        ...

    def put_unless(
        self, table: sa.Table, row: Values, *, unless: sa.Select[Any], values: Values
    ) -> bool:
        """Insert one row as ``beside`` does, unless the read finds something; durable on return.

        Returns whether it was inserted: False also where a unique key of it is held.
        """
        ...

    def fetch(
        self, con: sa.Connection, statement: sa.Select[Any], values: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        """Run a small, frequent read; ``statement`` is a constant of its module."""
        ...

    def frame(self, statement: sa.Select[Any], schema: Mapping[str, Any]) -> pl.DataFrame:
        """Run a large read and return it with exactly the types of ``schema``."""
        ...

    def scrub(self) -> None:
        """Take out of the files what a committed deletion left in them."""
        ...

    def close(self) -> None:
        """Release every connection."""
        ...


LAST = 2**63 - 1
"""The bound of a read that has none."""


def bound(value: int | None) -> int:
    """Return the bound given, or one that nothing reaches."""
    return LAST if value is None else value
