"""How SQLite reads: by index, by columns, from every thread."""

import sqlite3
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from lifeloop.events.records import EVENT_SCHEMA
from lifeloop.store import histories, open_store
from lifeloop.store import sqlite as module
from lifeloop.store.sql_store import SqlStore
from lifeloop.store.sqlite import SqliteBackend
from lifeloop.store.sqlite_connections import driver_of
from lifeloop.testing.store_suite import NOW, VIEW, event_rows


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = open_store(f"sqlite:///{tmp_path / 's.db'}")
    yield store
    store.close()


def backend_of(store: SqlStore) -> SqliteBackend:
    assert isinstance(store._backend, SqliteBackend)
    return store._backend


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (histories.BY_USER, "events_by_user (user_id=?)"),
        (histories.BY_VISITOR, "events_by_visitor (anonymous_id=?)"),
        (histories.VISITORS, "links_by_user (user_id=?)"),
    ],
)
def test_a_history_is_read_by_index_and_never_sorted(
    store: SqlStore, query: sa.Select[Any], index: str
) -> None:
    done = query.compile(dialect=backend_of(store)._reader.dialect)
    values = {**done.params, "person": "u", "as_of": NOW, "known": 9, "n": 5}
    with backend_of(store).read() as con:
        plan = driver_of(con).execute(
            f"EXPLAIN QUERY PLAN {done}", [values[name] for name in done.positiontup or ()]
        )
        steps = [row[3] for row in plan]
    assert f"USING INDEX {index}" in steps[0], steps
    assert not [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step]


def test_ids_are_looked_up_by_index_however_many(store: SqlStore) -> None:
    backend = backend_of(store)
    ids = [f"e{n}" for n in range(100_000)]  # far above any limit on the values of a statement
    with backend.read() as con:
        query = "EXPLAIN QUERY PLAN SELECT seq FROM events WHERE event_id IN "
        steps = [
            row[3]
            for row in driver_of(con).execute(query + "(SELECT value FROM json_each(?))", ("[]",))
        ]
        assert steps[0] == "SEARCH events USING COVERING INDEX events_event_id (event_id=?)"
        assert len(backend.fetch(con, backend.listed, {"ids": backend.packed(ids)})) == len(ids)


def rows(n: int) -> pl.DataFrame:
    frame = event_rows(replace(VIEW, context={"a": "词"}))
    numbers = pl.DataFrame({"n": range(n)})
    late = pl.col("n") > n - 3  # a column that is empty for long
    return (
        frame.join(numbers, how="cross")
        .with_columns(
            event_id=pl.format("e{}", "n"),
            user_id=pl.format("u{}", pl.col("n") * 7919 % 101),
            value=pl.when(pl.col("n") % 3 > 0).then(pl.col("n") / 7),
            rating=pl.when(late).then(0.5),
            position=pl.when(late).then(3).cast(pl.Int32),
            line_id=pl.when(late).then(pl.lit("007")),
            is_bot=pl.when(pl.col("n") % 2 > 0).then(pl.col("n") % 5 > 2),
            t_us=pl.when(pl.col("n") % 11 > 0).then(NOW - pl.col("n")),
        )
        .drop("n")
    )


def test_a_large_read_by_columns_equals_the_read_by_rows(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = rows(25_000)
    store.append(frame, received_us=NOW)
    by_columns = store.snapshot(as_of_us=NOW).events
    monkeypatch.setattr(module, "_CHUNK", 10**9)
    by_rows = store.snapshot(as_of_us=NOW).events
    assert by_columns.equals(by_rows)
    held = by_columns.sort("seq").select(EVENT_SCHEMA.keys())
    assert held.equals(
        frame.filter(pl.col("t_us").is_null() | (pl.col("t_us") < NOW)).select(EVENT_SCHEMA.keys())
    )


def test_without_room_for_the_private_copy_the_rows_are_read_directly(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(rows(25_000), received_us=NOW)
    wanted = store.snapshot().events

    def no_room(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", no_room)
    assert store.snapshot().events.equals(wanted)


def test_a_snapshot_sees_what_was_committed_and_not_yet_checkpointed(
    store: SqlStore, tmp_path: Path
) -> None:
    store.append(rows(21_000), received_us=NOW)
    other = sqlite3.connect(tmp_path / "s.db")
    other.execute("PRAGMA wal_autocheckpoint=0")
    other.close()
    store.append(event_rows(VIEW), received_us=NOW)
    assert (tmp_path / "s.db-wal").stat().st_size > 0
    assert store.snapshot().events.height == 21_001


def test_no_private_copy_stays_behind(
    store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "tmp ?#%20"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    store.append(rows(21_000), received_us=NOW)
    assert store.snapshot().events.height == 21_000
    assert list(place.iterdir()) == []


def test_one_store_serves_many_threads_at_once(store: SqlStore) -> None:
    faults: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for n in range(15):
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
    assert store.counts()["events"] == 6 * 15 + 15
    assert store.last_seq() == 6 * 15 + 15
    seqs = store.snapshot().events["seq"]
    assert seqs.n_unique() == len(seqs)


def test_a_live_read_goes_on_during_a_long_write(store: SqlStore) -> None:
    store.append(event_rows(VIEW), received_us=NOW)
    with backend_of(store).write() as con:
        con.exec_driver_sql("UPDATE clock SET touched = touched + 1")
        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(len(store.histories(["u"])[0])))
        thread.start()
        thread.join(timeout=10)
        assert done == [1]


def test_what_is_written_during_a_large_read_is_seen_at_once(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 10)
    store.append(rows(50), received_us=NOW)
    read = module._read_columns
    seen: list[Any] = []

    def and_meanwhile(*given: Any) -> pl.DataFrame:
        store.kept.put("session", "late", {"n": len(seen)}, at_us=NOW)
        seen.append(store.kept.get("session", "late"))  # the connection that read first is free
        return read(*given)

    monkeypatch.setattr(module, "_read_columns", and_meanwhile)
    assert store.snapshot().events.height == 50
    assert seen == [{"n": n} for n in range(len(seen))]
    assert seen


def test_a_snapshot_of_some_columns_holds_the_same_rows(store: SqlStore) -> None:
    store.append(rows(50), received_us=NOW)
    store.identify("v", "u", received_us=NOW)
    columns = ["seq", "user_id", "type", "t_us"]
    some = store.snapshot(columns=columns)
    assert some.events.equals(store.snapshot().events.select(columns))
