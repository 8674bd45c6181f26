"""How PostgreSQL reads and when it is durable: by index, by columns, from every thread."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

pytest.importorskip("psycopg", reason="no PostgreSQL driver: pip install 'lifeloop[postgres]'")

import psycopg
import sqlalchemy as sa

from lifeloop.errors import StoreError
from lifeloop.events.records import EVENT_SCHEMA
from lifeloop.store import appending, histories, open_store, tombstones
from lifeloop.store import postgres as module
from lifeloop.store.postgres import PostgresBackend
from lifeloop.store.postgres_connections import driver_of
from lifeloop.store.postgres_url import read_url
from lifeloop.store.secret import VARIABLE, mark
from lifeloop.store.sql_store import SqlStore
from lifeloop.testing.postgres import own_schema, postgres_server
from lifeloop.testing.store_suite import NOW, VIEW, decision, event_rows

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def store(server: str) -> Iterator[SqlStore]:
    with own_schema(server) as url:
        store = open_store(url)
        yield store
        store.close()


@pytest.fixture(scope="module")
def full(server: str) -> Iterator[SqlStore]:
    """A store with enough events that a scan would cost more than an index."""
    with own_schema(server) as url:
        store = open_store(url)
        with store.bulk():  # which also lets the server count, so that it plans well at once
            store.append(rows(25_000), received_us=NOW)
        yield store
        store.close()


def backend_of(store: SqlStore) -> PostgresBackend:
    assert isinstance(store._backend, PostgresBackend)
    return store._backend


def rows(n: int) -> pl.DataFrame:
    k = pl.col("n")
    late = k > n - 3  # a column that is empty for long
    return (
        event_rows(replace(VIEW, context={"a": "词 100%"}))
        .join(pl.DataFrame({"n": range(n)}), how="cross")
        .with_columns(
            event_id=pl.format("e{}", k),
            user_id=pl.when(k % 5 > 0).then(pl.format("u{}", k * 7919 % 101)),
            anonymous_id=pl.format("v{}", k * 7919 % 101),
            value=pl.when(k % 3 > 0).then(k / 7),
            rating=pl.when(late).then(0.5),
            position=pl.when(late).then(3).cast(pl.Int32),
            line_id=pl.when(late).then(pl.lit("007")),
            text=pl.when(k % 2 > 0).then(pl.lit("")),  # the empty text is not null
            is_bot=pl.when(k % 2 > 0).then(k % 5 > 2),
            t_us=pl.when(k % 11 > 0).then(NOW - k),
        )
        .drop("n")
    )


@pytest.mark.parametrize(
    ("query", "person", "index"),
    [
        (histories.BY_USER, "u7", "events_by_user"),
        (histories.BY_VISITOR, "v7", "events_by_visitor"),
    ],
)
def test_a_history_is_read_by_index_and_never_sorted(
    full: SqlStore, query: sa.Select[Any], person: str, index: str
) -> None:
    values = {"person": person, "as_of": 2**63 - 1, "known": 2**63 - 1, "n": 5}
    with backend_of(full).read() as con:
        done = query.compile(dialect=con.dialect)
        plan = driver_of(con).execute(f"EXPLAIN {done}".encode(), {**done.params, **values})
        steps = "\n".join(row[0] for row in plan)
    assert f"Index Scan Backward using {index} on events" in steps, steps
    assert "Sort" not in steps, steps
    assert "Seq Scan on events" not in steps, steps


def test_ids_are_looked_up_by_index_however_many(full: SqlStore) -> None:
    backend = backend_of(full)
    ids = [f"e{n}" for n in range(100_000)]  # above 65,535, the limit on values of a statement
    with backend.read() as con:
        query = appending.contents_of(backend.listed)
        done = query.compile(dialect=con.dialect)
        plan = driver_of(con).execute(f"EXPLAIN {done}".encode(), {"ids": backend.packed(ids)})
        steps = "\n".join(row[0] for row in plan)
        assert "using events_event_id" in steps, steps
        assert len(backend.fetch(con, backend.listed, {"ids": backend.packed(ids)})) == len(ids)
    assert full.append(rows(25_000), received_us=NOW).duplicate == 25_000


def test_a_large_read_by_columns_equals_the_read_by_rows_and_what_went_in(
    full: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_columns = full.snapshot(as_of_us=NOW).events
    monkeypatch.setattr(module, "_CHUNK", 10**9)
    by_rows = full.snapshot(as_of_us=NOW).events
    assert by_columns.equals(by_rows)
    wanted = rows(25_000).filter(pl.col("t_us").is_null() | (pl.col("t_us") < NOW))
    held = by_columns.sort("seq").select(n for n in EVENT_SCHEMA if n != "user_id")
    assert held.equals(wanted.select(n for n in EVENT_SCHEMA if n != "user_id"))


def test_a_large_read_that_fails_is_told_without_the_password(
    full: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = backend_of(full)
    gone = read_url("postgresql://me:s3cret@127.0.0.1:1/d")
    monkeypatch.setattr(backend, "address", gone)
    with pytest.raises(StoreError, match=r"large read.*failed.*repeat the call") as caught:
        full.snapshot()
    assert "s3cret" not in str(caught.value)
    monkeypatch.undo()
    assert full.snapshot().events.height == full.last_seq()


def test_a_large_read_holds_texts_with_every_odd_character(store: SqlStore) -> None:
    odd = ["%s 100% %%", "it's", "\\N", '"', "a\tb\r\nc", "{1,2}", "🦊", " ", "\\x41"]
    numbers = pl.DataFrame({"n": range(20_100)})
    texts = pl.Series("text", [odd[n % len(odd)] for n in range(20_100)])
    frame = event_rows(VIEW).join(numbers, how="cross").drop("n").with_columns(texts)
    store.append(frame, received_us=NOW)
    assert store.snapshot().events.sort("seq")["text"].equals(texts)


def test_one_store_serves_many_threads_at_once(store: SqlStore) -> None:
    faults: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for n in range(10):
                visit = replace(VIEW, user_id=name, event_id=f"{name}{n}")
                shared = replace(VIEW, user_id="all", event_id=f"shared{n}")
                store.append(event_rows(visit, shared), received_us=NOW)
                assert len(store.histories([name])[0]) == n + 1  # one's own write is seen
                assert store.snapshot().events.height >= n + 2
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert store.counts()["events"] == store.last_seq() == 6 * 10 + 10


def test_a_read_sees_one_state_while_others_write(store: SqlStore) -> None:
    store.append(event_rows(VIEW), received_us=NOW)
    with backend_of(store).read() as con:
        count = "SELECT count(*) FROM events"
        assert con.exec_driver_sql(count).scalar() == 1
        store.append(event_rows(VIEW, VIEW), received_us=NOW)
        assert con.exec_driver_sql(count).scalar() == 1
    assert store.counts()["events"] == 3


def test_a_live_read_goes_on_during_a_long_write(store: SqlStore) -> None:
    store.append(event_rows(VIEW), received_us=NOW)
    with backend_of(store).write() as con:
        con.exec_driver_sql("UPDATE clock SET touched = touched + 1")
        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(len(store.histories(["u"])[0])))
        thread.start()
        thread.join(timeout=10)
        assert done == [1]


# ---------------------------------------------------------------- durable


def waits(con: sa.Connection) -> object:
    return con.exec_driver_sql("SHOW synchronous_commit").scalar()


@pytest.mark.parametrize(
    ("server_says", "live"), [("off", "on"), ("on", "on"), ("remote_apply", "remote_apply")]
)
def test_a_live_write_waits_for_the_disk_whatever_the_server_is_set_to(
    server: str, server_says: str, live: str
) -> None:
    with own_schema(server) as url:
        store = open_store(f"{url}&options=-c%20synchronous_commit%3D{server_says}")
        backend = backend_of(store)
        with backend.write() as con:
            assert waits(con) == live
        with backend.bulk(), backend.write() as con:
            assert waits(con) == "off"
        with backend.write() as con:
            assert waits(con) == live
        store.close()


def test_a_bulk_import_in_one_thread_leaves_the_others_durable(store: SqlStore) -> None:
    backend = backend_of(store)
    modes: dict[str, object] = {}

    def live() -> None:
        with backend.write() as con:
            modes["live"] = waits(con)

    with backend.bulk():
        thread = threading.Thread(target=live)
        thread.start()
        thread.join()
        with backend.write() as con:
            modes["bulk"] = waits(con)
    assert modes == {"live": "on", "bulk": "off"}


def test_a_bulk_block_ends_with_everything_on_the_disk(store: SqlStore) -> None:
    backend = backend_of(store)

    def touched() -> object:
        with backend.read() as con:
            return con.exec_driver_sql("SELECT touched FROM clock").scalar()

    with store.bulk():
        with store.bulk():
            store.append(event_rows(VIEW), received_us=NOW)
        assert touched() == 1  # the inner end settles nothing
        with backend.write() as con:
            written = con.exec_driver_sql("SELECT pg_current_wal_insert_lsn()").scalar()
    assert touched() == 2
    with backend.read() as con:
        query = "SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn"
        assert con.exec_driver_sql(query, (written,)).scalar() is True
    with store.bulk():
        pass  # and nothing written is nothing to wait for
    assert touched() == 2


def test_a_slate_waits_for_the_erasure_that_is_under_way(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "k" * 64)
    backend = backend_of(store)
    key = b"k" * 64
    marks = {
        mark(key, tombstones.KEY, ""): (tombstones.KEY, NOW),
        mark(key, tombstones.USER, "u"): (tombstones.USER, NOW),
    }
    logging = threading.Thread(target=store.log_decision, args=(decision("r"),))
    with backend.write() as con:
        tombstones.raise_marks(backend, con, marks)
        logging.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        for _ in range(500):
            if con.exec_driver_sql(waiting).scalar_one():
                break
            time.sleep(0.01)
    logging.join(30)
    (held,) = store.decisions()
    assert (held.user_id, held.context) == ("erased", {})


def test_a_slate_is_durable_and_read_committed_whatever_the_server_says(store: SqlStore) -> None:
    address = read_url(backend_of(store).url)
    with psycopg.connect(address.conninfo, autocommit=True) as con:
        (role,) = con.execute("SELECT current_user").fetchone() or ("",)
        for name, value in (
            ("default_transaction_isolation", "repeatable read"),
            ("synchronous_commit", "off"),
        ):
            con.execute(f"ALTER ROLE \"{role}\" SET {name} = '{value}'".encode())
        try:
            again = open_store(backend_of(store).url)
            with backend_of(again).beside() as beside:
                shown = driver_of(beside).execute(
                    "SELECT current_setting('transaction_isolation'),"
                    " current_setting('synchronous_commit')"
                )
                assert shown.fetchone() == ("read committed", "on")
            again.log_decision(decision("r"))
            assert [d.request_id for d in again.decisions()] == ["r"]
            again.close()
        finally:
            for name in ("default_transaction_isolation", "synchronous_commit"):
                con.execute(f'ALTER ROLE "{role}" RESET {name}'.encode())
