"""What was acknowledged is on the disk: counted by intercepting the system's sync calls."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from lifeloop.errors import StoreError
from lifeloop.store import open_store
from lifeloop.store.sqlite import SqliteBackend
from lifeloop.store.tables import decisions
from lifeloop.testing.store_suite import NOW, VIEW, decision, event_rows

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <stdio.h>
#include <unistd.h>
static int wal = 0, other = 0;
static void count(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    if (n > 4 && !strcmp(path + n - 4, "-wal")) wal++; else other++;
}
int fsync(int fd) { count(fd); return ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(fd); }
int fdatasync(int fd) { count(fd); return ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(fd); }
int wal_syncs(void) { return wal; }
int other_syncs(void) { return other; }
"""

PROGRAM = """
import ctypes, json, sys
from dataclasses import replace
from lifeloop.contracts import QuarantinedRow
from lifeloop.events.records import ITEM_SCHEMA, Item, frame_of
from lifeloop.store import open_store
from lifeloop.testing.store_suite import NOW, VIEW, decision, event_rows

counter = ctypes.CDLL(None)
store = open_store(sys.argv[1])
again = replace(VIEW, event_id="twice")
syncs = []

def did(name, call):
    before = counter.wal_syncs()
    call()
    syncs.append((name, counter.wal_syncs() - before))

for n in range(20):
    did("append", lambda: store.append(event_rows(VIEW), received_us=NOW))
for n in range(2):
    did("duplicate", lambda: store.append(event_rows(again), received_us=NOW))
did("items", lambda: store.put_items(frame_of([Item(item_id="i")], ITEM_SCHEMA), received_us=NOW))
did("identify", lambda: store.identify("v", "u", received_us=NOW))
did("decision", lambda: store.log_decision(decision("r")))
did("quarantine", lambda: store.quarantine([QuarantinedRow("event", "bad", {})], received_us=NOW))
did("publish", lambda: store.publish("b", {}, at_us=1))
with store.bulk():
    for n in range(20):
        did("bulk", lambda: store.append(event_rows(VIEW), received_us=NOW))
    files = counter.wal_syncs(), counter.other_syncs()
synced = counter.wal_syncs() - files[0], counter.other_syncs() - files[1]
did("after", lambda: store.append(event_rows(VIEW), received_us=NOW))
print(json.dumps({"syncs": syncs, "settled": synced}))
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("counting sync calls needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    library = folder / "shim.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, folder / "shim.c", "-ldl"], check=True
    )
    return library


def test_every_write_that_returned_was_synced_and_bulk_syncs_at_its_end(
    shim: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), f"sqlite:///{tmp_path / 's.db'}"],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    live = [(name, n) for name, n in told["syncs"] if name != "bulk"]
    assert [name for name, n in live if n < 1] == []
    assert len(live) == 28
    # The count can tell: inside a bulk block the same call does not sync.
    assert sum(n for name, n in told["syncs"] if name == "bulk") == 0
    wal, database = told["settled"]
    assert wal >= 1
    assert database >= 1


def test_the_live_path_is_wal_and_fully_synchronous(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path / "s.db")
    with backend.write() as con:
        assert con.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert con.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    with backend.bulk(), backend.write() as con:
        assert con.exec_driver_sql("PRAGMA synchronous").scalar() == 1  # NORMAL
    with backend.write() as con:
        assert con.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    backend.close()


def test_a_bulk_import_in_one_thread_leaves_the_others_durable(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path / "s.db")
    modes: dict[str, object] = {}

    def live() -> None:
        with backend.write() as con:
            modes["live"] = con.exec_driver_sql("PRAGMA synchronous").scalar()

    with backend.bulk():
        thread = threading.Thread(target=live)
        thread.start()
        thread.join()
        with backend.write() as con:
            modes["bulk"] = con.exec_driver_sql("PRAGMA synchronous").scalar()
    assert modes == {"live": 2, "bulk": 1}
    backend.close()


def test_nested_bulk_blocks_settle_once_at_the_outer_end(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.db'}")
    wal = tmp_path / "s.db-wal"
    with store.bulk():
        with store.bulk():
            store.append(event_rows(VIEW), received_us=NOW)
        assert wal.stat().st_size > 0
    assert wal.stat().st_size == 0  # checkpointed and cut
    store.close()


def test_bulk_settles_while_a_reader_holds_an_old_state(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.db'}")
    store.append(event_rows(VIEW), received_us=NOW)
    backend = store._backend
    assert isinstance(backend, SqliteBackend)
    with backend.read() as con:
        assert con.exec_driver_sql("SELECT count(*) FROM events").scalar() == 1
        with store.bulk():
            store.append(event_rows(VIEW, VIEW), received_us=NOW)
        assert con.exec_driver_sql("SELECT count(*) FROM events").scalar() == 1
    assert store.counts()["events"] == 3
    store.close()


def test_reads_are_refused_to_write(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.db'}")
    with pytest.raises(StoreError, match="readonly"), store._backend.read() as con:
        con.exec_driver_sql("DELETE FROM events")
    store.log_decision(decision("r"))
    store.close()


def test_a_slate_that_cannot_be_written_leaves_the_writer_free(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.db'}")
    backend = store._backend
    assert isinstance(backend, SqliteBackend)
    with pytest.raises(StoreError):
        backend.put_unless(decisions, {"nothing": 1}, unless=backend.listed, values={"ids": "[]"})
    store.log_decision(decision("r"))
    with pytest.raises(StoreError), backend.bulk():  # the mode of a bulk block, and back
        backend.put_unless(decisions, {"nothing": 1}, unless=backend.listed, values={"ids": "[]"})
    store.append(event_rows(VIEW), received_us=NOW)
    assert [d.request_id for d in store.decisions()] == ["r"]
    store.close()
