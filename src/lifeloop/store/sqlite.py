"""SQLite behind the store: WAL, one writer at a time, any number of readers and processes.

Why reads of many rows go through a private copy: the fast columnar driver (ADBC) carries its
own SQLite library, and two SQLite libraries in one process silently drop each other's file
locks (sqlite.org/howtocorrupt.html, section 2.2.1). So the rows are copied by our own
connection into a private file, and only that file is given to ADBC.
"""

import json
import os
import sqlite3
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import sqlalchemy as sa
from sqlalchemy.pool import QueuePool, StaticPool

from lifeloop.errors import StoreError
from lifeloop.store.backend import Fetch, Values
from lifeloop.store.secret import Secret
from lifeloop.store.sqlite_connections import (
    LIVE,
    connected,
    driver_of,
    engine_of,
    patience,
    refuse_writes,
)
from lifeloop.store.sqlite_errors import told

_SETTLE_S = 2.0  # how long the end of a bulk block waits for readers of the old state
_CHUNK = 20_000  # rows; reads below this are not worth a private copy
_BULK = ("PRAGMA synchronous=NORMAL", "PRAGMA wal_autocheckpoint=16000")

_IDS = sa.func.json_each(sa.bindparam("ids", type_=sa.Text)).table_valued("value")
_LISTED: sa.Select[Any] = sa.select(_IDS.c.value)


class SqliteBackend:
    """One SQLite file. Safe to share between threads; not across a fork."""

    remote = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.secret = Secret(path.parent)
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._bulk = threading.local()
        self._mode: tuple[str, ...] = LIVE
        self._hot: dict[sa.Select[Any], tuple[str, tuple[str, ...], dict[str, Any]]] = {}
        self._idle: deque[sqlite3.Connection] = deque()  # of hot reads
        self._writer = engine_of(path, StaticPool, begin="BEGIN IMMEDIATE", cache_kib=128 * 1024)
        self._reader = engine_of(path, QueuePool, begin="BEGIN", cache_kib=16 * 1024)
        sa.event.listen(self._reader, "connect", refuse_writes)
        self._writing: deque[sqlite3.Connection] = deque(maxlen=1)  # the writer's only one
        sa.event.listen(self._writer, "connect", lambda con, _: self._writing.append(con))

    @property
    def url(self) -> str:
        """The database URL."""
        return f"sqlite:///{self.path}"

    @property
    def longest_key(self) -> None:
        """There is no limit on what an index can hold."""

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open one consistent read, on a connection that refuses to write."""
        self._not_forked()
        with told(self.path), self._reader.begin() as con:
            yield con

    @contextmanager
    def hot(self) -> Iterator[Fetch]:
        """Open one consistent read on a bare connection (SQLAlchemy's adds 0.3 ms)."""
        self._not_forked()
        with told(self.path):
            try:
                con = self._idle.pop()
            except IndexError:
                con = connected(self.path, cache_kib=16 * 1024)
                refuse_writes(con, None)
            try:
                con.execute("BEGIN")
                yield partial(self._run, con)
                con.execute("COMMIT")
            except BaseException:
                con.close()
                raise
            self._idle.append(con)

    def once(self) -> AbstractContextManager[Fetch]:
        """Open a read of one statement."""
        return self.hot()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Open the write transaction, after every other writer of any process."""
        self._not_forked()
        with self._lock, told(self.path):
            self._set_mode(_BULK if getattr(self._bulk, "depth", 0) else LIVE)
            with self._writer.begin() as con:
                yield con

    def beside(self) -> AbstractContextManager[sa.Connection]:
        """Open a write that takes no number; here there is one writer anyway."""
        return self.write()

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """Sync once, at the end, for this thread only; other threads stay durable per call."""
        self._bulk.depth = getattr(self._bulk, "depth", 0) + 1
        try:
            yield
        finally:
            self._bulk.depth -= 1
            if not self._bulk.depth:
                self._settle()

    @property
    def listed(self) -> sa.Select[Any]:
        """Texts as a subquery over one JSON parameter, so that there is no limit on them."""
        return _LISTED

    def packed(self, values: Sequence[str]) -> str:
        """Return texts as JSON."""
        return json.dumps(list(values))

    def insert(self, con: sa.Connection, table: sa.Table, rows: pl.DataFrame) -> None:
        """Insert rows by one prepared statement over the columns that hold anything."""
        if not rows.height:
            return
        empty = rows.null_count().row(0)
        names = [n for n, nulls in zip(rows.columns, empty, strict=True) if nulls < rows.height]
        marks = ", ".join("?" * len(names))
        columns = ", ".join(f'"{name}"' for name in names)
        sql = f'INSERT INTO "{table.name}" ({columns}) VALUES ({marks})'
        driver_of(con).executemany(sql, rows.select(names).iter_rows())

    def put(self, con: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> bool:
        """Insert one row unless a unique key of it is held; return whether it was inserted."""
        return _put(driver_of(con), table, row)

    def put_unless(
        self, table: sa.Table, row: Values, *, unless: sa.Select[Any], values: Values
    ) -> bool:
        """Insert one row in a transaction of its own, unless the read finds something."""
        with self._bare_write() as con:
            return not self._run(con, unless, values) and _put(con, table, row)

    def fetch(
        self, con: sa.Connection, statement: sa.Select[Any], values: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        """Run a hot read, compiled once, without the layers in between (0.2 ms each time)."""
        return self._run(driver_of(con), statement, values)

    def _run(
        self, con: sqlite3.Connection, statement: sa.Select[Any], values: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        if statement not in self._hot:
            done = statement.compile(dialect=self._reader.dialect)
            self._hot[statement] = (str(done), tuple(done.positiontup or ()), dict(done.params))
        sql, names, given = self._hot[statement]
        given = {**given, **values}
        return con.execute(sql, tuple(given[name] for name in names)).fetchall()

    @contextmanager
    def _bare_write(self) -> Iterator[sqlite3.Connection]:
        """Open the write transaction below SQLAlchemy, whose layers cost 0.3 ms."""
        self._not_forked()
        with self._lock, told(self.path):
            self._set_mode(_BULK if getattr(self._bulk, "depth", 0) else LIVE)
            if not self._writing:
                self._writer.connect().close()
            con = self._writing[0]
            con.execute("BEGIN IMMEDIATE")
            try:
                yield con
                con.execute("COMMIT")
            except BaseException:
                con.rollback()
                raise

    def frame(self, statement: sa.Select[Any], schema: Mapping[str, Any]) -> pl.DataFrame:
        """Run a read; a large one through a private copy (see the module's own words)."""
        sql, values = self._compiled(statement)
        self._not_forked()
        with told(self.path), self._reader.begin() as con:
            # closed, whatever is left in it: a statement under way would keep this connection,
            # which others are given next, in the past
            with closing(driver_of(con).execute(sql, values)) as cursor:
                rows = cursor.fetchmany(_CHUNK)
            if len(rows) < _CHUNK:
                return _framed(rows, schema)
        try:
            return self._copied(sql, values, schema, head=rows)
        except (sqlite3.Error, OSError):
            # Most likely no room for the copy. Anything worse is met and told again below.
            pass
        with (
            told(self.path),
            self._reader.begin() as con,
            closing(driver_of(con).execute(sql, values)) as cursor,
        ):
            return pl.concat([_framed(part, schema) for part in _parts(cursor)])

    def scrub(self) -> None:
        """Cut the WAL, whose older pages still hold what was deleted.

        The database file needs no more: ``secure_delete`` has overwritten the rows in it.
        """
        with self._lock:
            self._settle()

    def close(self) -> None:
        """Release every connection; the last one of all processes tidies the WAL away."""
        if os.getpid() == self._pid:
            while self._idle:
                self._idle.pop().close()
            self._reader.dispose()
            self._writer.dispose()

    def _compiled(self, statement: sa.Select[Any]) -> tuple[str, tuple[Any, ...]]:
        expanded = {"render_postcompile": True}  # lists of values, each in its place
        done = statement.compile(dialect=self._reader.dialect, compile_kwargs=expanded)
        values = done.params
        return str(done), tuple(values[name] for name in done.positiontup or ())

    def _copied(
        self,
        sql: str,
        values: tuple[Any, ...],
        schema: Mapping[str, Any],
        *,
        head: list[tuple[Any, ...]],
    ) -> pl.DataFrame:
        with tempfile.TemporaryDirectory(prefix="lifeloop-") as folder:
            copy = Path(folder) / "rows.db"
            con = connected(self.path, cache_kib=16 * 1024)
            try:
                con.execute("ATTACH ? AS copy", (str(copy),))
                for pragma in ("page_size=65536", "journal_mode=OFF", "synchronous=OFF"):
                    con.execute(f"PRAGMA copy.{pragma}")
                # ADBC reads the types of a column from its first rows, so the first row is
                # one that has them all.
                columns = ", ".join(f'"{name}" {_SQL[str(kind)]}' for name, kind in schema.items())
                con.execute(f"CREATE TABLE copy.part ({columns})")
                typed = [_SAMPLE[str(kind)] for kind in schema.values()]
                marks = ", ".join("?" * len(typed))
                con.execute(f"INSERT INTO copy.part VALUES ({marks})", typed)
                con.execute(f"INSERT INTO copy.part {sql}", values)
                filled = _filled(con, schema, head)
            finally:
                con.close()
            return _read_columns(copy, schema, filled)

    def _set_mode(self, mode: tuple[str, ...]) -> None:
        if mode is not self._mode:
            with self._writer.connect() as con:
                for pragma in mode:
                    driver_of(con).execute(pragma)
            self._mode = mode

    def _settle(self) -> None:
        """Make durable what this thread's bulk block wrote: a full checkpoint, or the WAL."""
        with self._lock:
            self._set_mode(LIVE)
            try:
                with self._writer.connect() as con, patience(con, _SETTLE_S):
                    busy = driver_of(con).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.Error:
                busy = 1
            wal = Path(f"{self.path}-wal")
            if busy and wal.exists():
                # A reader holds the old pages, or the disk is full: the synced WAL is as good.
                with wal.open("rb") as file:
                    os.fsync(file.fileno())

    def _not_forked(self) -> None:
        if os.getpid() != self._pid:
            raise StoreError(
                "this store was opened before a fork and is not valid in the child",
                hint="call open_store in the child process",
            )


def _put(con: sqlite3.Connection, table: sa.Table, row: Values) -> bool:
    columns = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join("?" * len(row))
    sql = f'INSERT INTO "{table.name}" ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING'
    return bool(con.execute(sql, tuple(row.values())).rowcount)


def open_backend(path: Path) -> SqliteBackend:
    """Return the SQLite file at ``path``, made if it is absent; its folder must exist."""
    if not path.parent.is_dir():
        raise StoreError(
            "the folder of the database does not exist",
            got=str(path.parent),
            hint="create the folder, or correct the URL",
        )
    if path.is_dir():
        raise StoreError("the database path is a folder", got=str(path), hint="name a file in it")
    backend = SqliteBackend(path)
    try:
        with told(path), backend._writer.connect():
            return backend
    except StoreError:
        backend.close()
        raise


# ---------------------------------------------------------------- columns

_SQL = {"String": "TEXT", "Int64": "INTEGER", "Int32": "INTEGER", "Float64": "REAL"}
_SQL |= {"Boolean": "INTEGER", "Binary": "BLOB"}
_SAMPLE: dict[str, Any] = {"String": "x", "Int64": 2**40, "Int32": 1, "Float64": 0.5}
_SAMPLE |= {"Boolean": 1, "Binary": b"x"}


def _parts(cursor: sqlite3.Cursor) -> Iterator[list[tuple[Any, ...]]]:
    while part := cursor.fetchmany(_CHUNK):
        yield part


def _framed(rows: list[tuple[Any, ...]], schema: Mapping[str, Any]) -> pl.DataFrame:
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(schema)
    whole = [pl.Int64 if kind == pl.Boolean else kind for kind in schema.values()]
    return pl.DataFrame(
        [
            pl.Series(name, column, dtype=kind)
            for name, kind, column in zip(schema, whole, columns, strict=True)
        ]
    ).cast(pl.Schema(schema))


def _filled(
    con: sqlite3.Connection, schema: Mapping[str, Any], head: list[tuple[Any, ...]]
) -> list[str]:
    """Return the columns that hold anything: reading empty ones would cost half the time."""
    empty = [
        name
        for name, column in zip(schema, zip(*head, strict=True), strict=True)
        if all(value is None for value in column)
    ]
    if not empty:
        return list(schema)
    sums = ", ".join(f'count("{name}")' for name in empty)
    counts = con.execute(f"SELECT {sums} FROM copy.part WHERE rowid > 1").fetchone()
    absent = {name for name, n in zip(empty, counts, strict=True) if not n}
    return [name for name in schema if name not in absent]


def _read_columns(copy: Path, schema: Mapping[str, Any], filled: list[str]) -> pl.DataFrame:
    import adbc_driver_sqlite.dbapi as adbc

    columns = ", ".join(f'"{name}"' for name in filled)
    with adbc.connect(f"file:{quote(str(copy))}") as con, con.cursor() as cursor:
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": "65536"})
        cursor.execute(f"SELECT {columns} FROM part ORDER BY rowid")
        frame = pl.DataFrame(cursor.fetch_arrow_table())
    whole = pl.Schema(schema)
    return frame.slice(1).select(
        pl.col(name).cast(kind) if name in filled else pl.lit(None, dtype=kind).alias(name)
        for name, kind in whole.items()
    )
