"""A full disk: the call fails with its name, nothing of it is stored, and it can be repeated."""

import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import polars as pl
import pytest

from lifeloop.errors import StoreError, StoreFull
from lifeloop.store import open_store
from lifeloop.store.sql_store import SqlStore
from lifeloop.store.sqlite import SqliteBackend
from lifeloop.store.sqlite_connections import driver_of
from lifeloop.testing.full_disk import small_disk
from lifeloop.testing.store_suite import NOW, VIEW, event_rows


def many(n: int, first: int = 0) -> pl.DataFrame:
    rows = event_rows(VIEW).join(pl.DataFrame({"n": range(first, first + n)}), how="cross")
    return rows.with_columns(event_id=pl.format("e{}", "n"), text=pl.lit("x" * 100)).drop("n")


def fill(store: SqlStore, *, batch: int, most: int) -> int:
    """Append until the disk is full; return how many rows were acknowledged."""
    for first in range(0, most, batch):
        try:
            store.append(many(batch, first), received_us=NOW)
        except StoreFull:
            return first
    raise AssertionError("the disk never filled")


def check(store: SqlStore, acknowledged: int) -> None:
    held = store.snapshot().events
    assert sorted(held["event_id"]) == sorted(f"e{n}" for n in range(acknowledged))
    assert store.last_seq() == acknowledged
    assert store.counts()["events"] == acknowledged


def test_a_database_that_may_not_grow_is_full(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.db'}")
    backend = store._backend
    assert isinstance(backend, SqliteBackend)
    with backend._writer.connect() as con:
        driver_of(con).execute("PRAGMA max_page_count=120")
    done = fill(store, batch=300, most=9000)
    assert done > 0
    check(store, done)
    with pytest.raises(StoreFull, match="nothing of this call was stored") as caught:
        store.append(many(300, done), received_us=NOW)
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, StoreError)
    with backend._writer.connect() as con:
        driver_of(con).execute("PRAGMA max_page_count=100000")
    assert store.append(many(600), received_us=NOW).accepted == 600 - min(done, 600)
    store.close()


LIMITED = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_sqlite_full as t
from lifeloop.store import open_store

store = open_store(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limit[1]))
bulk = sys.argv[3] == "bulk"
if bulk:
    with store.bulk():
        done = t.fill(store, batch=500, most=50_000)
else:
    done = t.fill(store, batch=500, most=50_000)
t.check(store, done)
resource.setrlimit(resource.RLIMIT_FSIZE, limit)
assert store.append(t.many(500, done), received_us=t.NOW).accepted == 500
t.check(store, done + 500)
store.close()
store = open_store(sys.argv[1])
t.check(store, done + 500)
store.close()
assert done > 0
print("done", done)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no file-size limit on this system")
@pytest.mark.parametrize("mode", ["live", "bulk"])
def test_a_file_size_limit_is_a_full_disk(tmp_path: Path, mode: str) -> None:
    assert resource.RLIMIT_FSIZE >= 0
    place = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, f"sqlite:///{tmp_path / 's.db'}", place, mode],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("done")


@pytest.fixture
def full_at(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder that is full after a few MB, and what makes room in it."""
    with small_disk(tmp_path / "small") as make_room:
        yield tmp_path / "small", make_room


@pytest.mark.parametrize("bulk", [False, True])
def test_a_full_disk_stores_nothing_of_the_call_and_recovers(
    full_at: tuple[Path, Callable[[], None]], bulk: bool
) -> None:
    place, make_room = full_at
    url = f"sqlite:///{place / 's.db'}"
    store = open_store(url)
    with store.bulk() if bulk else nullcontext():
        done = fill(store, batch=200, most=50_000)
    assert done > 0
    check(store, done)
    store.close()
    store = open_store(url)  # a second start on the full disk
    check(store, done)
    make_room()
    assert store.append(many(200, done), received_us=NOW).accepted == 200
    assert store.append(many(200), received_us=NOW).duplicate == 200
    check(store, done + 200)
    store.close()
