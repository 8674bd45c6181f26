"""PostgreSQL behind the store: writers take turns, readers never wait, bulk by binary COPY.

*One order.* Every write transaction first takes the one turn of its schema (an advisory lock
that ends with the transaction, after the commit can be seen). So whoever takes a number from
``clock.seq`` sees all that was committed under smaller numbers, and commits before anyone takes
a larger one: a reader that sees number n sees every number below it. It also makes the look-up
of what is stored already exact, so rows are copied straight into the table: a row that came
meanwhile cannot exist, and were there one, the unique index would fail the call rather than
drop it in silence.

*Durable.* A live write commits synchronously. Inside ``bulk`` commits do not wait for the disk;
the end of the block is one synchronous commit, which makes all before it durable.
"""

import importlib
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from lifeloop.errors import StoreError
from lifeloop.store.backend import Fetch, Values
from lifeloop.store.postgres_connections import bare, driver_of, engine_of, given_up_if_lost
from lifeloop.store.postgres_errors import told, translated, unreachable, was_lost
from lifeloop.store.postgres_turns import BUSY_S, SHARED_TURN, TURN
from lifeloop.store.postgres_url import Address, read_url
from lifeloop.store.postgres_values import SQL, framed, holdable
from lifeloop.store.secret import Secret

LONGEST_KEY = 2600
"""Bytes of an id; PostgreSQL's B-trees hold entries up to about 2,700."""

_CHUNK = 20_000  # rows; reads below this are not worth a connection of the columnar driver
_BESIDE = 2, 14  # the same, for writes beside the writer
_READERS = 8, 24  # connections kept, and more of them under load

# As JSON and not as an array: the driver writes it ten times faster, and the server expects 100
# texts of it whatever it holds, so it always looks them up by index.
_IDS = sa.cast(sa.bindparam("ids", type_=sa.Text), postgresql.JSON)
_LISTED: sa.Select[Any] = sa.select(sa.func.json_array_elements_text(_IDS, type_=sa.Text))


class PostgresBackend:
    """One schema of one PostgreSQL database. Safe between threads; not across a fork."""

    remote = True

    def __init__(self, address: Address) -> None:
        self.address = address
        self.secret = Secret(Path.cwd())
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._bulk = threading.local()
        self._writers_made = 0
        self._hot: dict[sa.Select[Any], tuple[bytes, dict[str, Any]]] = {}
        self._writer = engine_of(self._new_writer, kept=1, more=0)
        self._reader = engine_of(self._new_reader, kept=_READERS[0], more=_READERS[1])
        self._single = engine_of(self._new_single, kept=_READERS[0], more=_READERS[1], tidied=False)
        self._beside = engine_of(self._new_beside, kept=_BESIDE[0], more=_BESIDE[1], tidied=False)

    @property
    def url(self) -> str:
        """The database URL, without any password."""
        return self.address.shown

    @property
    def longest_key(self) -> int:
        """The most bytes of a text that an index can hold."""
        return LONGEST_KEY

    def read(self) -> AbstractContextManager[sa.Connection]:
        """Open one consistent read, which the server refuses to let write."""
        return self._open(self._reader)

    @contextmanager
    def hot(self) -> Iterator[Fetch]:
        """Open one consistent read for small, frequent statements."""
        with self._open(self._reader) as con:
            yield partial(self.fetch, con)

    @contextmanager
    def once(self) -> Iterator[Fetch]:
        """Open a read of one statement: two trips to the server less than a transaction."""
        self._not_forked()
        with self._told() as step, bare(self._single) as driver:
            step["connected"] = True
            yield partial(self._fetched, driver)

    @contextmanager
    def _open(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        self._not_forked()
        with self._told() as step, engine.connect() as con:
            step["connected"] = True
            with given_up_if_lost(con):
                yield con

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Open the write transaction, after every other writer of any process."""
        self._not_forked()
        bulk = getattr(self._bulk, "depth", 0) > 0
        with self._lock, self._told() as step, self._writer.connect() as con:
            step["connected"] = True
            with given_up_if_lost(con):
                con.execute(TURN, {"bulk": bulk, "patience": f"{BUSY_S}s"})
                if bulk:
                    self._bulk.used.add(self._writers_made)
                yield con
                step["committing"] = True
                con.commit()

    @contextmanager
    def beside(self) -> Iterator[sa.Connection]:
        """Open a write that takes no number: it waits for writers, not for others of its kind."""
        self._not_forked()
        with self._told() as step, self._beside.connect() as con:
            step["connected"] = True
            with given_up_if_lost(con), driver_of(con).transaction():
                driver_of(con).execute(SHARED_TURN)
                yield con
                step["committing"] = True

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """Wait for the disk once, at the end, for this thread's writes."""
        depth = getattr(self._bulk, "depth", 0)
        if not depth:
            self._bulk.used = set()  # the writing connections of this block, by number
            self._bulk.filled = Counter()
        self._bulk.depth = depth + 1
        try:
            yield
        finally:
            self._bulk.depth -= 1
            if not self._bulk.depth and self._bulk.used:
                self._settle()

    @property
    def listed(self) -> sa.Select[Any]:
        """Texts as a subquery over one JSON parameter, so that there is no limit on them."""
        return _LISTED

    def packed(self, values: Sequence[str]) -> str:
        """Return texts as JSON; those that PostgreSQL cannot hold name nothing in it."""
        if not holdable("\n".join(values)):
            values = [value for value in values if holdable(value)]
        return json.dumps(list(values), ensure_ascii=False)

    def insert(self, con: sa.Connection, table: sa.Table, rows: pl.DataFrame) -> None:
        """Copy rows into ``table`` in binary, only the columns that hold anything."""
        if not rows.height:
            return
        empty = rows.null_count().row(0)
        names = [n for n, nulls in zip(rows.columns, empty, strict=True) if nulls < rows.height]
        columns = ", ".join(f'"{name}"' for name in names)
        sql = f'COPY "{table.name}" ({columns}) FROM STDIN (FORMAT BINARY)'
        with driver_of(con).cursor() as cursor, cursor.copy(sql.encode()) as copy:
            copy.set_types([SQL[str(rows[name].dtype)] for name in names])
            for row in rows.select(names).iter_rows():
                copy.write_row(row)
        if getattr(self._bulk, "depth", 0):
            self._bulk.filled[table.name] += rows.height

    def put(self, con: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> bool:
        """Insert one row unless a unique key of it is held; return whether it was inserted."""
        columns = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join(["%s"] * len(row))
        sql = f'INSERT INTO "{table.name}" ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING'
        return driver_of(con).execute(sql.encode(), tuple(row.values())).rowcount == 1

    def put_unless(
        self, table: sa.Table, row: Values, *, unless: sa.Select[Any], values: Values
    ) -> bool:
        """Insert one row as ``beside`` does, unless the read finds something: one trip in all."""
        self._not_forked()
        sql, given = self._compiled(unless)
        columns = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join(f"%(row_{name})s" for name in row)
        # Statements sent together are one transaction, and each sees what is committed when it
        # begins: the second begins after the turn has come, so no erasure slips in between.
        told = (
            SHARED_TURN
            + (
                f'; INSERT INTO "{table.name}" ({columns}) SELECT {marks} '
                f"WHERE NOT EXISTS ({sql.decode()}) ON CONFLICT DO NOTHING"
            ).encode()
        )
        own = {f"row_{name}": value for name, value in row.items()}
        with self._told() as step, bare(self._beside) as driver:
            step |= {"connected": True, "committing": True}
            with psycopg.ClientCursor(driver) as cursor:  # the parameters of several statements
                cursor.execute(told, {**given, **values, **own})
                cursor.nextset()
                return cursor.rowcount == 1

    def fetch(
        self, con: sa.Connection, statement: sa.Select[Any], values: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        """Run a hot read, compiled once, without the layers in between."""
        return self._fetched(driver_of(con), statement, values)

    def _fetched(
        self, driver: psycopg.Connection[Any], statement: sa.Select[Any], values: Values
    ) -> list[tuple[Any, ...]]:
        sql, given = self._compiled(statement)
        return driver.execute(sql, {**given, **values}, binary=True).fetchall()

    def _compiled(self, statement: sa.Select[Any]) -> tuple[bytes, dict[str, Any]]:
        if statement not in self._hot:
            done = statement.compile(dialect=self._reader.dialect)
            self._hot[statement] = (str(done).encode(), dict(done.params))
        return self._hot[statement]

    def frame(self, statement: sa.Select[Any], schema: Mapping[str, Any]) -> pl.DataFrame:
        """Run a read; a large one as Arrow columns, through ADBC."""
        with self.read() as con:
            rows = con.execute(statement.limit(_CHUNK)).all()
        if len(rows) < _CHUNK:
            return framed(rows, schema)
        return self._by_columns(statement, schema)

    def scrub(self) -> None:
        """Vacuum, which frees the space of deleted rows for others to overwrite."""
        try:
            with psycopg.connect(self.address.conninfo, autocommit=True) as con:
                con.execute("SET lock_timeout = '5s'")
                for name in ("events", "users", "links", "decisions", "quarantine"):
                    con.execute(f'VACUUM "{name}"'.encode())
        except psycopg.Error as error:
            raise translated(error, self.address, committing=False) from error

    def close(self) -> None:
        """Release every connection."""
        if os.getpid() == self._pid:
            self._reader.dispose()
            self._single.dispose()
            self._beside.dispose()
            self._writer.dispose()

    def _by_columns(self, statement: sa.Select[Any], schema: Mapping[str, Any]) -> pl.DataFrame:
        adbc: Any = importlib.import_module("adbc_driver_postgresql.dbapi")
        # Its own dialect: the one of psycopg would double every percent sign.
        dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
        sql = str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
        try:
            with adbc.connect(self.address.conninfo) as con, con.cursor() as cursor:
                cursor.execute(sql)
                frame = pl.DataFrame(cursor.fetch_arrow_table())
        except adbc.Error as error:
            raise StoreError(
                f"a large read from PostgreSQL failed ({told(error, self.address)})",
                got=self.url,
                hint="check that the server runs, then repeat the call",
            ) from error
        return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())

    def _settle(self) -> None:
        """Make durable what this thread's bulk block wrote, or say that some may be gone."""
        # A connection that was replaced may mean a server that crashed, and with it the last
        # commits that had not reached the disk.
        used = self._bulk.used
        cause: StoreError | None = None
        try:
            with self.write() as con:
                con.exec_driver_sql("UPDATE clock SET touched = touched + 1")
        except StoreError as error:
            cause = error
        if cause is not None or used != {self._writers_made}:
            raise StoreError(
                "the server did not confirm all of a bulk write (it failed, or the connection was "
                "lost on the way); its last batches may be gone",
                got=self.url,
                hint="repeat the import; rows that are stored are counted as duplicates",
            ) from cause
        filled = [name for name, n in self._bulk.filled.items() if n > _CHUNK]
        if filled:
            self._count(filled)

    def _count(self, tables: Sequence[str]) -> None:
        """Let the server count what a table now holds: by itself it would plan badly till then."""
        with suppress(StoreError), self.write() as con:
            con.exec_driver_sql("SET LOCAL lock_timeout = '1s'")  # not worth waiting for a vacuum
            for name in tables:
                con.exec_driver_sql(f'ANALYZE "{name}"')

    @contextmanager
    def _told(self) -> Iterator[dict[str, bool]]:
        step: dict[str, bool] = {}
        try:
            yield step
        except (sa.exc.DBAPIError, psycopg.Error, UnicodeEncodeError) as error:
            cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            if not step.get("connected"):
                raise unreachable(cause, self.address) from error
            if was_lost(cause):
                self._forget()
            committing = step.get("committing", False)
            raise translated(cause, self.address, committing=committing) from error
        except sa.exc.TimeoutError as error:
            raise StoreError(
                f"no connection became free in {BUSY_S} s: too many reads at once",
                got=self.url,
                hint="repeat the call, or run more processes with fewer threads each",
            ) from error

    def _forget(self) -> None:
        """Drop the idle connections: what ended one has most likely ended all."""
        self._reader.dispose()
        self._beside.dispose()
        if not getattr(self._bulk, "depth", 0):
            self._writer.dispose()

    def _new_writer(self) -> psycopg.Connection[Any]:
        con = psycopg.connect(self.address.conninfo, prepare_threshold=None)
        con.isolation_level = psycopg.IsolationLevel.READ_COMMITTED  # sees all before its turn
        self._writers_made += 1
        return con

    def _new_reader(self) -> psycopg.Connection[Any]:
        con = psycopg.connect(self.address.conninfo, prepare_threshold=None)
        con.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        con.read_only = True
        return con

    def _new_single(self) -> psycopg.Connection[Any]:
        con = psycopg.connect(self.address.conninfo, autocommit=True)
        con.execute("SET default_transaction_read_only = on")
        return con

    def _new_beside(self) -> psycopg.Connection[Any]:
        con = psycopg.connect(self.address.conninfo, autocommit=True)
        con.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        con.execute("SET default_transaction_isolation = 'read committed'")
        return con

    def _not_forked(self) -> None:
        if os.getpid() != self._pid:
            raise StoreError(
                "this store was opened before a fork and is not valid in the child",
                hint="call open_store in the child process",
            )


def open_backend(url: str) -> PostgresBackend:
    """Return the database at ``url``; a schema that it names is made if it is absent."""
    address = read_url(url)
    try:
        con = psycopg.connect(address.conninfo, autocommit=True)
    except psycopg.Error as error:
        raise unreachable(error, address) from error
    try:
        with con:
            _check(con, address)
            if address.schema is not None:
                _make_schema(con, address.schema)
            if con.execute("SELECT current_schema()").fetchone() == (None,):
                raise StoreError(
                    "the database has no schema that this user can use",
                    got=address.shown,
                    hint="add ?schema=lifeloop to the URL",
                )
    except psycopg.Error as error:
        raise translated(error, address, committing=False) from error
    return PostgresBackend(address)


def _check(con: psycopg.Connection[Any], address: Address) -> None:
    encoding = con.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(
            "the database cannot hold every text",
            got=f"encoding {encoding} of {address.shown}",
            allowed="UTF8",
            hint="make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
        )


def _make_schema(con: psycopg.Connection[Any], schema: str) -> None:
    found = con.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
    if found is None:
        with con.transaction():  # two that come at once would fail in the catalogue
            con.execute("SELECT pg_advisory_xact_lock(hashtextextended('lifeloop schemas', 0))")
            con.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'.encode())
