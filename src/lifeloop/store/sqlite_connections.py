"""Connections to one SQLite file, all of them set up alike."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from lifeloop.store.sqlite_errors import BUSY_S

LIVE = ("PRAGMA synchronous=FULL", "PRAGMA wal_autocheckpoint=2000")
"""What makes every commit durable."""
_ALWAYS = ("PRAGMA temp_store=MEMORY", "PRAGMA secure_delete=ON")


def engine_of(path: Path, pool: Any, *, begin: str, cache_kib: int) -> sa.Engine:
    """Return an engine on this file, whose transactions begin with ``begin``."""
    more = {"pool_size": 8, "max_overflow": -1} if pool is QueuePool else {}
    engine = sa.create_engine(
        "sqlite+pysqlite://",
        creator=lambda: connected(path, cache_kib=cache_kib),
        poolclass=pool,
        **more,
    )

    def started(con: sa.Connection) -> None:
        con.exec_driver_sql(begin)

    sa.event.listen(engine, "begin", started)
    return engine


def connected(path: Path, *, cache_kib: int) -> sqlite3.Connection:
    """Return a connection as every one here is: WAL, durable with each commit."""
    # isolation_level None: transactions begin where this file says so, not where sqlite3 guesses.
    con = sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        if con.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            con.execute("PRAGMA journal_mode=WAL")
        for pragma in (*LIVE, f"PRAGMA cache_size=-{cache_kib}", *_ALWAYS):
            con.execute(pragma)
    except BaseException:
        con.close()
        raise
    return con


@contextmanager
def patience(con: sa.Connection, seconds: float) -> Iterator[None]:
    """Wait at most so long for other processes within the block."""
    driver_of(con).execute(f"PRAGMA busy_timeout={int(seconds * 1000)}")
    try:
        yield
    finally:
        driver_of(con).execute(f"PRAGMA busy_timeout={int(BUSY_S * 1000)}")


def refuse_writes(con: sqlite3.Connection, _: object) -> None:
    """Make a connection, when it is opened, one that only reads."""
    con.execute("PRAGMA query_only=ON")


def driver_of(con: sa.Connection) -> sqlite3.Connection:
    """Return the connection of the driver below SQLAlchemy's."""
    driver: Any = con.connection.driver_connection
    return driver  # type: ignore[no-any-return]
