"""Killed clients, ended connections and servers that go away: nothing lost, nothing doubled."""

import random
import threading
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytest.importorskip("psycopg", reason="no PostgreSQL driver: pip install 'lifeloop[postgres]'")

from lifeloop.errors import StoreError
from lifeloop.store import open_store
from lifeloop.store import postgres as module
from lifeloop.store import postgres_connections as connections
from lifeloop.store.postgres import PostgresBackend
from lifeloop.store.postgres_connections import driver_of
from lifeloop.store.sql_store import SqlStore
from lifeloop.testing.importer import BATCH, Importer, N, forkserver, stored
from lifeloop.testing.postgres import StartedServer, own_schema, postgres_server, started_server
from lifeloop.testing.store_suite import NOW, VIEW, event_rows

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    return forkserver()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def url(server: str) -> Iterator[str]:
    with own_schema(server) as url:
        yield url


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    store = open_store(url)
    yield store
    store.close()


def backend_of(store: SqlStore) -> PostgresBackend:
    assert isinstance(store._backend, PostgresBackend)
    return store._backend


def named(n: int, first: int = 0) -> pl.DataFrame:
    rows = event_rows(VIEW).join(pl.DataFrame({"n": range(first, first + n)}), how="cross")
    return rows.with_columns(event_id=pl.format("e{}", "n")).drop("n")


def end(server: str, pids: list[int]) -> None:
    """Let the server end these connections, from another one."""
    store = module.open_backend(server)
    with store.read() as con:
        for pid in pids:
            con.exec_driver_sql("SELECT pg_terminate_backend(%s)", (pid,))
    store.close()


def pid_of(con: Any) -> int:
    return int(con.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


# ---------------------------------------------------------------- processes


def test_an_import_killed_at_any_moment_loses_and_doubles_nothing(
    server: str, tmp_path: Path, processes: ForkServerContext
) -> None:
    rng = random.Random(20261126)
    with own_schema(server) as url:
        whole = Importer(processes, url, tmp_path, "whole")
        began = time.perf_counter()
        whole.go()
        assert whole.finish() == N
        whole_s = time.perf_counter() - began
    kills = 0
    for file in range(3):
        with own_schema(server) as url:
            for round_ in range(3):  # the first import is killed, then the ones that resume
                importer = Importer(processes, url, tmp_path, f"{file}-{round_}")
                importer.go()
                time.sleep(rng.uniform(0.0, whole_s * 0.6))
                kills += importer.kill()
                ids = stored(url)
                done = importer.acknowledged
                assert set(ids) >= {f"e{n}" for n in range(done)}, "an acknowledged event is gone"
                assert len(ids) % BATCH == 0, "half a batch was stored"
            last = Importer(processes, url, tmp_path, f"{file}-last")
            last.go()
            accepted = last.finish()
            final = stored(url)
            assert set(final) == {f"e{n}" for n in range(N)}
            assert accepted <= N - len(ids)  # a commit under way at the kill may still arrive
    assert kills >= 5, "the imports were over before they could be killed: raise N"


def test_a_client_killed_in_the_middle_of_a_copy_leaves_nothing_of_it(
    url: str, tmp_path: Path, processes: ForkServerContext
) -> None:
    open_store(url).close()
    log, gate = tmp_path / "log", tmp_path / "gate"
    child = processes.Process(target=copy_and_wait, args=(url, str(log)))
    child.start()
    while not log.exists():
        assert child.is_alive()
        time.sleep(0.005)
    assert not gate.exists()
    store = open_store(url)
    assert store.last_seq() == 1  # the whole batch before it, and no row of this one
    child.kill()
    child.join()
    # The turn is free again at once, not after a time-out.
    began = time.perf_counter()
    assert store.append(named(50, first=1), received_us=NOW).accepted == 50
    assert time.perf_counter() - began < 5
    assert store.append(named(51), received_us=NOW).duplicate == 51
    assert store.last_seq() == 51
    store.close()


def copy_and_wait(url: str, log: str) -> None:
    """Store one event, then stop in the middle of copying the next ones."""
    store = open_store(url)
    store.append(named(1), received_us=NOW)
    backend = backend_of(store)
    with backend.write() as con, driver_of(con).cursor() as cursor:
        sql = b"COPY events (seq, event_id, type, received_us, content) FROM STDIN (FORMAT BINARY)"
        with cursor.copy(sql) as copy:
            copy.set_types(["int8", "text", "text", "int8", "bytea"])
            for n in range(2, 20_000):  # enough that rows have reached the server
                copy.write_row((n, f"e{n - 1}", "view", NOW, b"x" * 16))
            Path(log).touch()
            time.sleep(600)


def test_two_processes_that_import_the_same_rows_store_them_once(
    url: str, tmp_path: Path, processes: ForkServerContext
) -> None:
    both = [Importer(processes, url, tmp_path, name) for name in ("one", "two")]
    for importer in both:
        importer.go()
    accepted = [importer.finish() for importer in both]
    assert sum(accepted) == N
    assert set(stored(url)) == {f"e{n}" for n in range(N)}


def test_several_processes_may_create_the_schema_at_once(
    server: str, processes: ForkServerContext
) -> None:
    for _ in range(2):
        with own_schema(server) as url:
            children = [processes.Process(target=open_and_close, args=(url,)) for _ in range(4)]
            for child in children:
                child.start()
            for child in children:
                child.join()
            assert [child.exitcode for child in children] == [0, 0, 0, 0]


def open_and_close(url: str) -> None:
    open_store(url).close()


def test_numbers_become_visible_in_their_order(url: str) -> None:
    """While four stores write, whoever sees number n sees every number below it."""
    stores = [open_store(url) for _ in range(4)]
    faults: list[BaseException] = []

    def work(store: SqlStore, name: str) -> None:
        try:
            for n in range(20):
                row = event_rows(VIEW).with_columns(event_id=pl.lit(f"{name}-{n}"))
                assert store.append(row, received_us=NOW).accepted == 1
        except BaseException as fault:
            faults.append(fault)

    threads = [
        threading.Thread(target=work, args=(store, f"s{n}")) for n, store in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    reader = open_store(url)
    looked = 0
    while any(thread.is_alive() for thread in threads):
        newest = reader.last_seq()
        seqs = reader.snapshot(seq=newest).events["seq"].sort().to_list()
        assert seqs == list(range(1, newest + 1))
        looked += 1
    for thread in threads:
        thread.join()
    assert faults == []
    assert reader.last_seq() == 80
    assert looked > 3
    for store in (*stores, reader):
        store.close()


# ---------------------------------------------------------------- connections


def test_a_connection_ended_in_the_middle_of_a_write_is_an_error_and_the_next_call_works(
    server: str, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(named(5), received_us=NOW)
    backend = backend_of(store)
    insert = backend.insert

    def ended(con: Any, table: Any, rows: pl.DataFrame) -> None:
        end(server, [pid_of(con)])
        insert(con, table, rows)

    monkeypatch.setattr(backend, "insert", ended)
    with pytest.raises(StoreError, match=r"connection.*was lost.*nothing of this call.*repeat"):
        store.append(named(10), received_us=NOW)
    monkeypatch.undo()
    report = store.append(named(10), received_us=NOW)
    assert (report.accepted, report.duplicate) == (5, 5)
    assert store.last_seq() == 10


def test_a_connection_ended_at_the_commit_leaves_it_open_whether_it_was_stored(
    server: str, store: SqlStore
) -> None:
    def writing() -> None:
        with backend_of(store).write() as con:
            con.exec_driver_sql("UPDATE clock SET touched = touched + 1")
            end(server, [pid_of(con)])

    with pytest.raises(StoreError, match=r"may or may not have stored.*never stored twice"):
        writing()
    assert store.append(named(1), received_us=NOW).accepted == 1


def test_an_import_whose_connection_was_ended_says_repeat_it(server: str, store: SqlStore) -> None:
    backend = backend_of(store)

    def importing() -> None:
        with store.bulk():
            store.append(named(100), received_us=NOW)
            with backend.write() as con:
                pid = pid_of(con)
            end(server, [pid])
            with pytest.raises(StoreError, match="was lost"):
                store.append(named(200), received_us=NOW)
            store.append(named(200), received_us=NOW)  # a caller that goes on regardless

    with pytest.raises(StoreError, match=r"last batches may be gone.*repeat the import"):
        importing()
    with store.bulk():
        store.append(named(200), received_us=NOW)
    assert store.last_seq() == 200


def test_connections_that_died_at_rest_are_replaced_unnoticed(
    server: str, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = backend_of(store)
    with backend.write() as writer, backend.read() as one, backend.read() as two:
        pids = [pid_of(con) for con in (writer, one, two)]
    end(server, pids)
    monkeypatch.setattr(connections, "_RESTED_S", -1.0)
    assert store.append(named(1), received_us=NOW).accepted == 1
    assert store.last_seq() == 1
    with backend.write() as writer, backend.read() as one:
        assert not {pid_of(writer), pid_of(one)} & set(pids)


def test_a_read_whose_connection_was_just_ended_fails_once(server: str, store: SqlStore) -> None:
    backend = backend_of(store)
    with backend.read() as con:
        pid = pid_of(con)
    end(server, [pid])
    with pytest.raises(StoreError, match="was lost"):
        store.last_seq()
    assert store.last_seq() == 0


def test_a_writer_that_hangs_is_named_after_a_while(
    store: SqlStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_S", 0.2)
    other = open_store(url)
    with backend_of(other).write():
        with pytest.raises(StoreError, match="look for a writer that hangs"):
            store.append(named(1), received_us=NOW)
        assert store.last_seq() == 0  # reads do not wait
    assert store.append(named(1), received_us=NOW).accepted == 1
    other.close()


def test_reads_are_refused_to_write(store: SqlStore) -> None:
    with pytest.raises(StoreError, match="accepts no writes"), store._backend.read() as con:
        con.exec_driver_sql("DELETE FROM events")


def test_a_store_opened_before_a_fork_refuses_to_work_in_the_child(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    mine = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: mine + 1)
    with pytest.raises(StoreError, match="before a fork"):
        store.last_seq()
    with pytest.raises(StoreError, match="before a fork"):
        store.append(named(1), received_us=NOW)
    monkeypatch.undo()


# ---------------------------------------------------------------- the server


@pytest.fixture(scope="module")
def own_server() -> Iterator[StartedServer]:
    # The background writer of the log would sync what nobody waited for: hold it back.
    with started_server("wal_writer_delay=10s") as server:
        yield server


def test_a_server_that_crashes_loses_nothing_that_was_acknowledged(
    own_server: StartedServer,
) -> None:
    with own_schema(own_server.url) as url:
        store = open_store(url)
        backend = backend_of(store)
        store.append(named(10), received_us=NOW)  # acknowledged one by one
        own_server.stop("immediate")
        with pytest.raises(StoreError, match=r"check that the server runs"):
            store.append(named(20), received_us=NOW)
        with pytest.raises(StoreError, match="cannot be reached"):
            store.last_seq()
        own_server.start()
        assert store.last_seq() == 10
        with store.bulk():
            store.append(named(20), received_us=NOW)  # acknowledged by the end of the block
        own_server.stop("immediate")
        own_server.start()
        backend._forget()
        assert store.last_seq() == 20
        store.close()


def test_a_server_that_crashes_inside_a_bulk_write_is_told_at_its_end(
    own_server: StartedServer,
) -> None:
    with own_schema(own_server.url) as url:
        store = open_store(url)

        def importing() -> None:
            with store.bulk():
                for n in range(1, 6):
                    store.append(named(n * 10), received_us=NOW)
                own_server.stop("immediate")
                own_server.start()

        with pytest.raises(StoreError, match=r"last batches may be gone.*repeat"):
            importing()
        held = store.last_seq()
        print("batches of ten that outlived the crash:", held / 10)
        assert held <= 50
        with store.bulk():
            report = store.append(named(50), received_us=NOW)
        assert report.accepted == 50 - held
        assert sorted(store.snapshot().events["event_id"]) == sorted(f"e{n}" for n in range(50))
        store.close()


def test_a_server_restarted_during_a_copy_stores_the_batch_never_or_once(
    own_server: StartedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_schema(own_server.url) as url:
        store = open_store(url)
        backend = backend_of(store)
        store.append(named(5), received_us=NOW)
        insert = backend.insert

        def interrupted(con: Any, table: Any, rows: pl.DataFrame) -> None:
            insert(con, table, rows)
            own_server.stop("fast")
            own_server.start()

        monkeypatch.setattr(backend, "insert", interrupted)
        with pytest.raises(StoreError, match="was lost"):
            store.append(named(3000), received_us=NOW)
        monkeypatch.undo()
        assert store.last_seq() == 5
        assert store.append(named(3000), received_us=NOW).accepted == 2995
        store.close()
