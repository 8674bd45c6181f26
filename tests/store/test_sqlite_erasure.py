"""After an erasure not even the bytes of the database file name the person."""

import random
import sqlite3
from pathlib import Path

import pytest

from lifeloop.events.records import USER_SCHEMA, Event, User, frame_of
from lifeloop.store import migrate, open_store
from lifeloop.store.secret import VARIABLE
from lifeloop.testing.store_suite import NOW, decision, event_rows


def test_the_files_hold_no_trace_of_an_erased_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    rng = random.Random(5)
    store = open_store(f"sqlite:///{tmp_path / 's.db'}")
    for batch in range(12):  # interleaved, so that index pages split over and over
        rows = [
            Event(
                type="view",
                user_id=f"person-{rng.randrange(40):06}",
                anonymous_id=f"device-{rng.randrange(40):06}",
                occurred_us=NOW + rng.randrange(10**9),
                event_id=f"{batch}-{n}",
                text="x" * rng.randrange(200),
            )
            for n in range(400)
        ]
        store.append(event_rows(*rows), received_us=NOW)
        users = [User(user_id=f"person-{n:06}", attributes={"n": batch}) for n in range(40)]
        store.put_users(frame_of(users, USER_SCHEMA), received_us=NOW)
        store.log_decision(decision(f"r{batch}"))
    store.identify("device-unused", "person-000007", received_us=NOW)
    files = [tmp_path / "s.db", tmp_path / "s.db-wal"]
    assert any(b"person-000007" in file.read_bytes() for file in files)
    assert store.erase("person-000007", at_us=NOW).events > 50
    for file in files:
        held = file.read_bytes()
        assert b"person-000007" not in held, file
        assert b"device-unused" not in held, file
        assert b"person-000008" in held or not held
    store.close()


def test_links_of_an_older_schema_become_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.db"
    store = open_store(f"sqlite:///{path}")
    store.identify("v", "u", received_us=NOW)
    store.close()
    con = sqlite3.connect(path)
    con.executescript(
        "ALTER TABLE links DROP COLUMN kind; DROP TABLE tombstones; DROP TABLE removals;"
        "DROP TABLE repairs;"
        "UPDATE alembic_version SET version_num = '0002'"
    )
    con.close()
    assert migrate.newest_version() > "0002"
    store = open_store(f"sqlite:///{path}")
    assert [(a.alias, a.kind) for a in store.aliases("u")] == [("v", "device")]
    store.close()
