"""The contract of the doctor, over every store: each thing is broken, and found, and named.

Subclass ``DoctorContract`` as ``StoreContract``, with a fixture ``store_url``.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lifeloop.contracts import Finding, QuarantinedRow
from lifeloop.events.records import ITEM_SCHEMA, USER_SCHEMA, Event, Item, User, frame_of
from lifeloop.store import migrate, open_store
from lifeloop.store.secret import FILE
from lifeloop.store.sql_store import SqlStore
from lifeloop.store.tables import clock, decisions, events, items, links, superseded
from lifeloop.testing.store_suite import DAY, NOW, VIEW, decision, event_rows
from lifeloop.testing.store_suite_lake import ZONE, live

LATER = NOW + 30 * DAY


def told(found: list[Finding], check: str) -> list[tuple[str, str]]:
    """Return (severity, words) of the findings of one check."""
    return [(f.severity, f.said) for f in found if f.check == check]


class DoctorContract:
    """What the examination of every store finds. Needs a fixture ``store_url``."""

    @pytest.fixture
    def store(self, store_url: str, tmp_path: Path) -> Iterator[SqlStore]:
        """A sound store in which much has happened, erasure included."""
        store = open_store(store_url, keys=tmp_path)
        rng = random.Random(5)
        for _ in range(3):
            live(store, rng)
        everything = [Item(item_id=f"i{n}") for n in range(9)]
        store.put_items(frame_of(everything, ITEM_SCHEMA), received_us=NOW)
        people = [User(user_id=name) for name in ("ada", "bob", "cy")]
        store.put_users(frame_of(people, USER_SCHEMA), received_us=NOW)
        gone = Event(type="view", user_id="cy", item_id="i1", occurred_us=NOW)
        store.append(event_rows(gone, VIEW_OF_ADA), received_us=NOW + 5 * DAY)
        store.erase("cy", at_us=NOW)
        store.publish("b1", {}, at_us=NOW)
        store.log_decision(decision("r1"))
        yield store
        store.close()

    def found(self, store: SqlStore, *, quick: bool = False) -> list[Finding]:
        """Return what is found a month later."""
        return store.check(now_us=LATER, quick=quick)

    def run(self, store: SqlStore, *statements: Any) -> None:
        """Do to the database what nobody should."""
        with store._backend.write() as con:
            for statement in statements:
                if isinstance(statement, str):
                    con.exec_driver_sql(statement)
                else:
                    con.execute(statement)

    @pytest.mark.parametrize("quick", [False, True])
    def test_a_sound_store_has_nothing_wrong(self, store: SqlStore, quick: bool) -> None:
        found = self.found(store, quick=quick)
        wrong = [f for f in found if f.severity in ("failure", "warning") and f.check != "clock"]
        assert wrong == [], repr(wrong)
        assert {f.check for f in found} == {
            "migration", "integrity", "indexes", "index use", "sequence", "versions", "clock",
            "events of unknown users", "events of unknown items", "links", "decisions",
            "quarantine", "key", *([] if quick else ["contents"]),
        }  # fmt: skip

    def test_what_is_broken_is_found(self, store: SqlStore) -> None:
        seqs = int(store.snapshot().events["seq"].min() or 0)  # type: ignore[arg-type]
        cases: list[tuple[Any, str, str, str]] = [
            (
                events.delete().where(events.c.seq == seqs),
                "sequence",
                "failure",
                "1 rows are gone",
            ),
            (clock.update().values(seq=clock.c.seq - 1), "sequence", "failure", "counter stands"),
            (
                clock.update().values(seq=clock.c.seq + 2),
                "sequence",
                "failure",
                "2 rows are gone",
            ),
            (
                links.insert().values(
                    anonymous_id="nobody", user_id="no one", kind="device", seq=1, at_us=1
                ),
                "sequence",
                "failure",
                "given twice",
            ),
            (
                links.insert().values(
                    anonymous_id="nobody", user_id="no one", kind="device", seq=1, at_us=1
                ),
                "links",
                "warning",
                "join a visitor without events",
            ),
            (
                superseded.insert().values(seq=seqs, by_seq=10**6),
                "versions",
                "failure",
                "newer version that is gone",
            ),
            (
                events.update().where(events.c.seq == seqs).values(user_id="ghost"),
                "events of unknown users",
                "warning",
                "users in events are known by their events only",
            ),
            (
                items.delete().where(items.c.item_id == "i3"),
                "events of unknown items",
                "warning",
                "1 of 9 items in events are not in the catalogue",
            ),
            (
                events.update().where(events.c.seq == seqs).values(t_us=LATER + DAY),
                "clock",
                "failure",
                "lie in the future",
            ),
            (
                events.update().where(events.c.seq == seqs).values(received_us=LATER + DAY),
                "clock",
                "failure",
                "this machine's clock went back",
            ),
            (
                events.update().where(events.c.seq == seqs).values(received_us=NOW + 10 * DAY),
                "clock",
                "warning",
                "was set back",
            ),
            (
                events.update().where(events.c.seq == seqs).values(occurred_us=NOW + 20 * DAY),
                "clock",
                "warning",
                "after they arrived",
            ),
            (
                clock.update().values(last_event_us=NOW - DAY),
                "clock",
                "failure",
                "narrower than its events",
            ),
            (
                decisions.update().values(body='{"bundle": "lost"}'),
                "decisions",
                "note",
                "not recorded here",
            ),
        ]
        for statement, check, severity, words in cases:
            with suppress(_Undone), store._backend.write() as con:
                con.execute(statement)
                found = _inside(con)
                assert any(s == severity and words in said for s, said in told(found, check)), (
                    check,
                    words,
                    [f for f in found if f.check == check],
                )
                assert all(f.next for f in found if f.severity in ("failure", "warning"))
                raise _Undone

    def test_a_missing_index_is_named_and_the_reads_it_slows(self, store: SqlStore) -> None:
        self.run(store, "DROP INDEX events_by_user", "DROP INDEX links_by_user")
        found = self.found(store)
        (missing,) = [f for f in found if f.check == "indexes"]
        assert (missing.severity, missing.count) == ("failure", 2)
        assert missing.examples == ("events_by_user", "links_by_user")
        (slow,) = [f for f in found if f.check == "index use"]
        assert slow.severity == "failure"
        assert "history of a user reads all of events" in slow.examples
        assert "visitors of a user reads all of links" in slow.examples

    def test_other_schemas_are_told_apart(
        self, store: SqlStore, store_url: str, tmp_path: Path
    ) -> None:
        for held, severity, words in [
            ("0001", "warning", "once it is migrated"),
            ("9999", "failure", "newer lifeloop"),
        ]:
            with store._backend.write() as con:
                con.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{held}'")
            looking = open_store(store_url, keys=tmp_path, migrated=False)
            found = self.found(looking)
            looking.close()
            assert [f.check for f in found] == ["migration", "integrity"]
            assert found[0].severity == severity
            assert words in found[0].said
            with store._backend.read() as con:
                assert migrate.version_of(con) == held, "looking must not migrate"

    def test_a_heap_of_refused_rows_and_a_missing_key_are_said(
        self, store: SqlStore, tmp_path: Path
    ) -> None:
        store.quarantine(
            [QuarantinedRow("event", "bad_time", {"n": n}) for n in range(3)], received_us=NOW
        )
        (waits,) = [f for f in self.found(store) if f.check == "quarantine"]
        assert (waits.severity, waits.count, waits.examples) == ("warning", 3, ("bad_time: 3",))
        assert "for 30 days" in waits.said
        (tmp_path / FILE).rename(tmp_path / "elsewhere")
        (key,) = [f for f in self.found(store) if f.check == "key"]
        assert key.severity == "failure"
        assert "is missing" in key.said

    # ------------------------------------------------------------ the lake

    def test_a_lake_that_is_not_the_store_is_found(self, store: SqlStore, tmp_path: Path) -> None:
        lake = store.lake(str(tmp_path / "lake"), zone=ZONE)
        assert told(lake.check(), "lake") == [("note", "there is no lake")]
        lake.extend()
        (sound,) = lake.check()
        assert sound.severity == "ok"
        files = sorted((tmp_path / "lake" / "events").rglob("*.parquet"))

        def broken(words: str, *, quick: bool = False) -> None:
            found = lake.check(quick=quick)
            assert any(f.severity == "failure" and words in str(f) for f in found), found
            lake.rebuild()
            assert [f.severity for f in lake.check()] == ["ok"]

        files[0].unlink()
        broken("is missing", quick=True)
        path = next(iter((tmp_path / "lake" / "events").rglob("*.parquet")))
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        assert [f.severity for f in lake.check(quick=True)] == ["ok"]
        broken("is not what was written")
        (tmp_path / "lake" / "manifest.json").write_text("{")
        broken("damaged")
        store.erase("bob", at_us=NOW)
        broken("still holds rows that were erased")
        (tmp_path / "lake" / "stray.parquet").write_bytes(b"x")
        assert ("note", "files that are on no list, of a call that died") in told(
            lake.check(), "lake"
        )
        store.append(event_rows(replace(VIEW_OF_ADA, event_id="last")), received_us=NOW)
        lake.extend()
        self.run(store, events.delete().where(events.c.event_id == "last"))
        assert any("do not hold the same rows" in f.said for f in lake.check())
        store.kept.put("store", "epoch", {"epoch": "another"}, at_us=1)
        assert any("follows another store" in f.said for f in lake.check())


class _Undone(Exception):
    """Rolls a write back."""


def _inside(con: Any) -> list[Finding]:
    """Examine as seen from inside a write that is not committed."""
    from lifeloop.store.checks import moments, orphans, sequence

    @contextmanager
    def read() -> Iterator[Any]:
        yield con

    def frame(statement: Any, schema: Any) -> pl.DataFrame:
        return pl.DataFrame(con.execute(statement).all(), schema=schema, orient="row")

    class Inside:
        def __init__(self) -> None:
            self.read: Callable[[], Any] = read
            self.frame = frame

    backend: Any = Inside()
    return [
        *sequence.sequence(backend),
        *sequence.superseded_pairs(backend),
        *moments.moments(backend, now_us=LATER),
        *orphans.orphans(backend),
    ]


VIEW_OF_ADA = Event(type=VIEW.type, user_id="ada", item_id="i1", occurred_us=NOW)
