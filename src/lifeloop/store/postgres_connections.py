"""Pools of PostgreSQL connections, and connections without the layers of SQLAlchemy above them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from lifeloop.store.postgres_turns import BUSY_S

_RESTED_S = 1.0  # a connection unused for longer is tried before it is trusted


def engine_of(creator: Any, *, kept: int, more: int, tidied: bool = True) -> sa.Engine:
    """Return a pool of what ``creator`` makes: ``kept`` connections and ``more`` under load.

    ``tidied``: whether a connection that comes back is rolled back; none that commits by itself
    needs that.
    """
    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=creator,
        poolclass=QueuePool,
        pool_size=kept,
        max_overflow=more,
        pool_timeout=BUSY_S,
        pool_use_lifo=True,
        pool_reset_on_return="rollback" if tidied else None,
        use_native_hstore=False,
    )
    sa.event.listen(engine, "checkin", _rests)
    sa.event.listen(engine, "checkout", _tried)
    return engine


def _rests(_: object, record: Any) -> None:
    record.info["rests"] = time.monotonic()


def _tried(con: psycopg.Connection[Any], record: Any, _: object) -> None:
    """Replace a connection that died while it rested, before anything relies on it."""
    if time.monotonic() - record.info.get("rests", time.monotonic()) > _RESTED_S:
        con.pgconn.exec_(b"")
        if con.closed:
            raise sa.exc.DisconnectionError


@contextmanager
def bare(engine: sa.Engine) -> Iterator[psycopg.Connection[Any]]:
    """Lend a connection of a pool without the layers above it; one that was lost is given up."""
    lent: Any = engine.raw_connection()
    driver: psycopg.Connection[Any] = lent.driver_connection
    try:
        yield driver
    except BaseException:
        if driver.closed:
            lent.invalidate()
        raise
    finally:
        lent.close()


@contextmanager
def given_up_if_lost(con: sa.Connection) -> Iterator[None]:
    """Take a connection out of its pool where the block ends because it was lost."""
    try:
        yield
    except BaseException:
        if not con.invalidated and driver_of(con).closed:
            con.invalidate()
        raise


def driver_of(con: sa.Connection) -> psycopg.Connection[Any]:
    """Return the driver's own connection below SQLAlchemy's."""
    driver: Any = con.connection.driver_connection
    return driver  # type: ignore[no-any-return]
