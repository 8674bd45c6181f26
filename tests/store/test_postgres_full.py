"""A full disk and too many readers: the call fails with its name and can be repeated."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path

import polars as pl
import pytest

pytest.importorskip("psycopg", reason="no PostgreSQL driver: pip install 'lifeloop[postgres]'")

import psycopg

from lifeloop.errors import InputError, LifeloopError, StoreError, StoreFull
from lifeloop.store import open_store
from lifeloop.store import postgres as module
from lifeloop.store.postgres_errors import translated
from lifeloop.store.postgres_url import read_url
from lifeloop.testing.postgres import own_schema, postgres_server, started_server
from lifeloop.testing.store_suite import NOW, VIEW, event_rows

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


def many(n: int, first: int = 0) -> pl.DataFrame:
    rows = event_rows(VIEW).join(pl.DataFrame({"n": range(first, first + n)}), how="cross")
    return rows.with_columns(event_id=pl.format("e{}", "n"), text=pl.lit("x" * 100)).drop("n")


@pytest.fixture
def small_disk() -> Iterator[tuple[str, Path]]:
    """A server whose tables lie on a disk of a few MB, and the ballast that fills half of it."""
    if os.geteuid() != 0:
        pytest.skip("a small disk can be mounted by root only")
    with ExitStack() as stack:
        server = stack.enter_context(started_server())
        place = Path(server.log).parent / "small"
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        stack.callback(subprocess.run, ["umount", "-l", str(place)], check=True)
        stack.callback(server.stop)
        shutil.chown(place, "postgres")
        backend = module.open_backend(server.url)
        with psycopg.connect(backend.address.conninfo, autocommit=True) as con:
            con.execute(f"CREATE TABLESPACE small LOCATION '{place}'".encode())
        backend.close()
        ballast = place / "ballast"
        ballast.write_bytes(b"x" * 3_000_000)
        yield f"{server.url}?options=-c%20default_tablespace%3Dsmall&schema=small", ballast


@pytest.mark.parametrize("bulk", [False, True])
def test_a_full_disk_stores_nothing_of_the_call_and_recovers(
    small_disk: tuple[str, Path], bulk: bool
) -> None:
    url, ballast = small_disk
    store = open_store(url)
    done = 0

    def fill() -> None:
        nonlocal done
        for done in range(0, 50_000, 500):
            store.append(many(500, done), received_us=NOW)

    with (
        store.bulk() if bulk else nullcontext(),
        pytest.raises(StoreFull, match="nothing of this call was stored"),
    ):
        fill()
    assert done > 0
    assert store.last_seq() == store.counts()["events"] == done
    ballast.unlink()
    assert store.append(many(500, done), received_us=NOW).accepted == 500
    assert store.append(many(500), received_us=NOW).duplicate == 500
    held = store.snapshot().events["event_id"]
    assert sorted(held) == sorted(f"e{n}" for n in range(done + 500))
    store.close()


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (psycopg.errors.DiskFull(), StoreFull, "disk of the PostgreSQL server is full"),
        (psycopg.errors.InsufficientPrivilege("no"), StoreError, r"may not.*\?schema=lifeloop"),
        (psycopg.errors.ReadOnlySqlTransaction(), StoreError, "name the primary server"),
        (psycopg.errors.AdminShutdown("bye"), StoreError, r"was lost \(bye\)"),
        (psycopg.errors.UntranslatableCharacter(), InputError, "cannot hold a text"),
        (psycopg.errors.UniqueViolation("key s3cret"), StoreError, "PostgreSQL failed: key …"),
    ],
)
def test_what_the_server_says_is_told_with_what_to_do(
    error: psycopg.Error, kind: type[LifeloopError], said: str
) -> None:
    address = read_url("postgresql://me:s3cret@h/d")
    with pytest.raises(kind, match=said) as caught:
        raise translated(error, address, committing=False)
    assert "s3cret" not in str(caught.value)
    assert "postgresql://me@h/d" in str(caught.value)


def test_too_many_reads_at_once_are_told(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_S", 0.2)
    monkeypatch.setattr(module, "_READERS", (1, 1))
    with own_schema(server) as url:
        store = open_store(url)
        with store._backend.read(), store._backend.read():
            with pytest.raises(StoreError, match="too many reads at once"):
                store.last_seq()
            assert store.append(event_rows(VIEW), received_us=NOW).accepted == 1
        assert store.last_seq() == 1
        store.close()
