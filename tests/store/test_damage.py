"""Databases with damaged pages: the doctor finds it and says so, whatever the pages hold."""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lifeloop import Lifeloop
from lifeloop.cli.app import app
from lifeloop.store import open_store
from lifeloop.testing.postgres import StartedServer, started_server
from lifeloop.testing.store_suite import DAY, NOW
from lifeloop.testing.store_suite_lake import live

ROUNDS = int(os.environ.get("LIFELOOP_CHAOS_ROUNDS", "6"))
PAGE = 4096


def doctor(folder: Path) -> tuple[int, dict[str, str]]:
    """Run the command; return its exit code and the findings that are failures."""
    told = CliRunner().invoke(app, ["doctor", "-C", str(folder), "--json"])
    assert told.exception is None or isinstance(told.exception, SystemExit), told.exception
    said = json.loads(told.stdout)
    if "error" in said:
        return told.exit_code, {said["error"]: said["message"]}
    worse = [f for f in said["findings"] if f["severity"] == "failure" or f["check"] == "contents"]
    failures = [f for f in worse if f["severity"] != "ok"]
    return told.exit_code, {f["check"]: str(f) for f in failures}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound SQLite database of a few hundred pages."""
    folder = tmp_path_factory.mktemp("sound")
    store = open_store(f"sqlite:///{folder / 's.db'}")
    live(store, random.Random(1), n=1500)
    store.close()
    return (folder / "s.db").read_bytes()


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_damaged_pages_of_sqlite_are_found(sound: bytes, tmp_path: Path, seed: int) -> None:
    """A page that was never written, one that lies elsewhere, and one with bytes turned over."""
    rng = random.Random(seed)
    data = bytearray(sound)
    held = [at for at in range(PAGE, len(data), PAGE) if sound.count(0, at, at + PAGE) < PAGE // 2]
    page = rng.choice(held)  # not an empty one, where nothing is lost
    if seed % 3 == 0:
        data[page : page + PAGE] = bytes(PAGE)
    elif seed % 3 == 1:
        other = rng.randrange(1, len(data) // PAGE) * PAGE
        other = other if other != page else PAGE
        data[page : page + PAGE] = data[other : other + PAGE]
    else:
        for _ in range(64):
            data[page + rng.randrange(PAGE)] ^= 1 << rng.randrange(8)
    if data == bytearray(sound):
        data[page] ^= 0xFF
    shop = tmp_path / "shop"
    with Lifeloop.open(shop, scenario="ecommerce"):
        pass
    assert CliRunner().invoke(app, ["init", str(shop)]).exit_code == 0
    for rest in ("-wal", "-shm"):
        (shop / f"lifeloop.db{rest}").unlink(missing_ok=True)
    (shop / "lifeloop.db").write_bytes(data)
    code, failures = doctor(shop)
    assert failures, f"page {page // PAGE + 1} is damaged, and nothing was said"
    assert code == 1 or set(failures) == {"contents"}


def test_a_file_that_is_cut_or_no_database_is_found(sound: bytes, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    assert CliRunner().invoke(app, ["init", str(shop)]).exit_code == 0
    for broken in (sound[: len(sound) // 2], sound[:100], b"x" * 8192, bytes(100) + sound[100:]):
        (shop / "lifeloop.db").write_bytes(broken)
        code, failures = doctor(shop)
        assert code == 1
        assert failures
        for rest in ("-wal", "-shm"):
            (shop / f"lifeloop.db{rest}").unlink(missing_ok=True)


# ---------------------------------------------------------------- PostgreSQL


@pytest.fixture(scope="module")
def server() -> Iterator[StartedServer]:
    pytest.importorskip("psycopg", reason="no PostgreSQL driver: pip install 'lifeloop[postgres]'")
    with started_server("fsync=off") as server:
        yield server


@pytest.mark.extras
@pytest.mark.parametrize("where", ["events", "events_by_user", "events_event_id", "a value"])
def test_damaged_pages_of_postgres_are_found(
    server: StartedServer, tmp_path: Path, where: str
) -> None:
    import psycopg

    schema = f"damage_{where.replace(' ', '_')}"
    url = f"{server.url}?schema={schema}"
    store = open_store(url, keys=tmp_path)
    live(store, random.Random(1), n=600)
    with psycopg.connect(server.url, autocommit=True) as con:
        con.execute("CREATE EXTENSION IF NOT EXISTS amcheck")  # in public, as operators do
    failures = [f for f in store.check(now_us=NOW + 99 * DAY) if f.severity == "failure"]
    assert failures == []
    name = "events" if where == "a value" else where
    with psycopg.connect(server.url, autocommit=True) as con:
        con.execute("CHECKPOINT")
        found = con.execute(
            "SELECT current_setting('data_directory'), pg_relation_filepath(%s::regclass)",
            (f'"{schema}"."{name}"',),
        ).fetchone()
    assert found is not None
    event_id = str(store.snapshot().events["event_id"][5])
    store.close()
    server.stop("fast")
    path = Path(found[0]) / found[1]
    data = bytearray(path.read_bytes())
    assert len(data) >= 16384
    if where == "a value":  # an id of a row is another one: only its index knows
        data[data.index(event_id.encode())] ^= 1
    else:  # the second page: what is left of its header and of its rows
        rng = random.Random(where)
        for at in (*range(8192, 8192 + 24), *(rng.randrange(8192, 16384) for _ in range(200))):
            data[at] = rng.randrange(256)
    path.write_bytes(data)
    server.start()
    store = open_store(url, keys=tmp_path)
    told = {f.check: f for f in store.check(now_us=NOW + 99 * DAY) if f.severity == "failure"}
    store.close()
    assert "integrity" in told, told
    assert any(where in text or where == "a value" for text in told["integrity"].examples)
