"""The contract of moving a whole store: nothing lost, nothing doubled, nobody erased comes back."""

import json
import random
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lifeloop.config import Scenario
from lifeloop.contracts import Cutoffs, Decision, Repair
from lifeloop.errors import InputError
from lifeloop.events.records import (
    ITEM_SCHEMA,
    USER_SCHEMA,
    Event,
    Item,
    QuarantinedRow,
    User,
    frame_of,
)
from lifeloop.store import open_store
from lifeloop.store.sql_store import SqlStore
from lifeloop.testing.store_suite import DAY, NOW, VIEW, event_rows
from lifeloop.testing.store_suite_backup import NewUrl
from lifeloop.testing.store_suite_lake import live, same
from lifeloop.testing.store_suite_people import ADA, fill
from lifeloop.transfer import export_all, import_all

SHOP = Scenario.load("ecommerce")


def arrive(store: SqlStore, path: Path, **more: Any) -> dict[str, tuple[int, int, int]]:
    """Import a whole store; return accepted, duplicate, rejected by kind."""
    told = import_all(store, path, scenario=SHOP, clock=lambda: NOW + 9 * DAY, **more)
    return {kind: (r.accepted, r.duplicate, r.rejected) for kind, r in told.items()}


def user(store: SqlStore, at: int, **attributes: str) -> None:
    """Put a version of user u that arrived at NOW + at."""
    rows = frame_of([User(user_id="u", attributes=attributes)], USER_SCHEMA)
    store.put_users(rows, received_us=NOW + at)


def slate(request: str, seq: int, person: str = "u") -> Decision:
    """Return a logged slate."""
    return Decision(
        request_id=request,
        user_id=person,
        t_us=NOW,
        surface="s",
        bundle="b1",
        seq=seq,
        stage=None,
        policy={"k": [1, 2]},
        rng_seed=2**63 - 1,
        candidate_ids=("a", "b"),
        candidate_scores=(1.0, 0.1),
        slate_ids=("a",),
        propensities=(0.25,),
        level="full",
        context={"q": ["x"]},
    )


def world(store: SqlStore) -> None:
    """Fill a store with a bit of everything, interleaved."""
    fill(store)
    live(store, random.Random(3), n=120)
    for n, attributes in enumerate(({"a": "1"}, {"a": "2"}, {"a": "1"}, {"a": "1", "b": "词"})):
        user(store, n, **attributes)
        store.append(event_rows(replace(VIEW, user_id="u")), received_us=NOW + n)
        store.log_decision(slate(f"r{n}", store.last_seq()))
    flips = [Item(item_id="flip", price=p, categories=("a", "é")) for p in (1.0, 0.1, 1.0)]
    store.put_items(frame_of(flips, ITEM_SCHEMA), received_us=NOW)
    line = Event(type="purchase", user_id="u", event_id="L", order_id="o", value=1.5)
    for value in (1.5, 2.5, 3.5):
        store.append(event_rows(replace(line, value=value)), received_us=NOW)
    store.append(event_rows(replace(line, order_id=None, value=9.0)), received_us=NOW)
    raw = {"t": "30 Feb", "n": 1, "x": "\ud800"}
    rows = [QuarantinedRow("event", "bad_time", raw, source="a.csv", line=3)]
    rows += [QuarantinedRow("event", "bad_time", {"t": "?"}, source="record")] * 2
    store.quarantine(rows, received_us=NOW + 5)


def held(store: SqlStore) -> list[dict[str, Any]]:
    """Return everything that a dump says, without where this store keeps it."""
    return [{n: v for n, v in row.items() if n != "bundle"} for row in store.dump()]


class TransferContract:
    """What moving a whole store promises. Needs a fixture ``new_url``: empty databases."""

    @pytest.fixture
    def store(self, new_url: NewUrl, tmp_path: Path) -> Iterator[SqlStore]:
        """An empty, open store."""
        store = open_store(new_url(), keys=tmp_path)
        yield store
        store.close()

    @pytest.fixture
    def other(self, new_url: NewUrl, tmp_path: Path) -> Iterator[SqlStore]:
        """Another one, with a key of its own."""
        (tmp_path / "other").mkdir()
        store = open_store(new_url(), keys=tmp_path / "other")
        yield store
        store.close()

    @pytest.mark.parametrize("into", ["own kind", "sqlite"])
    def test_an_empty_store_becomes_the_same_and_a_second_import_changes_nothing(
        self, store: SqlStore, new_url: NewUrl, tmp_path: Path, into: str
    ) -> None:
        world(store)
        about = export_all(store, tmp_path / "all.zip")
        url = new_url() if into == "own kind" else f"sqlite:///{tmp_path / 'copy.db'}"
        copy = open_store(url, keys=tmp_path)
        told = arrive(copy, tmp_path / "all.zip")
        assert {kind: n for kind, (n, _, _) in told.items()} == about["rows"]
        assert held(copy) == held(store)
        for seq in (20, 60, None):
            assert same(copy.snapshot(seq=seq), store.snapshot(seq=seq))
        assert list(copy.decisions()) == list(store.decisions())
        assert [replace(r, quarantine_id=None) for r in copy.quarantined()] == [
            replace(r, quarantine_id=None) for r in store.quarantined()
        ]
        before, head = held(copy), copy.head()
        again = arrive(copy, tmp_path / "all.zip")
        assert again == {kind: (0, n, 0) for kind, n in about["rows"].items()}
        assert (held(copy), copy.head()) == (before, head)
        # and back where it came from
        export_all(copy, tmp_path / "back.zip")
        assert {n for n, _, _ in arrive(store, tmp_path / "back.zip").values()} == {0}
        copy.close()

    def test_what_came_since_is_added_and_only_that(
        self, store: SqlStore, other: SqlStore, tmp_path: Path
    ) -> None:
        world(store)
        export_all(store, tmp_path / "1.zip")
        arrive(other, tmp_path / "1.zip")
        user(store, 50, a="9")
        store.append(event_rows(VIEW, VIEW), received_us=NOW + DAY)
        about = export_all(store, tmp_path / "2.zip")
        told = arrive(other, tmp_path / "2.zip")
        rows = about["rows"]
        assert told["user"] == (1, rows["user"] - 1, 0)
        assert told["event"] == (2, rows["event"] - 2, 0)
        assert same(other.snapshot(), store.snapshot())
        assert arrive(other, tmp_path / "1.zip")["user"] == (0, rows["user"] - 1, 0)
        assert same(other.snapshot(), store.snapshot())

    def test_an_older_version_is_not_put_over_a_newer_one(
        self, store: SqlStore, other: SqlStore, tmp_path: Path
    ) -> None:
        user(store, 1, ads="yes")
        user(store, 2, ads="maybe")
        user(other, 5, ads="no")
        export_all(store, tmp_path / "all.zip")
        for kept in (2, 2):  # also the second time
            assert arrive(other, tmp_path / "all.zip")["user"] == (0, 0, 2)
            refused = other.quarantined(reason="older_version")
            assert len(refused) == kept
        assert other.users(["u"])[0] == User(user_id="u", attributes={"ads": "no"})
        user(store, 9, ads="yes")
        export_all(store, tmp_path / "all.zip")
        assert arrive(other, tmp_path / "all.zip")["user"] == (1, 0, 2)
        assert other.users(["u"])[0] == User(user_id="u", attributes={"ads": "yes"})

    def test_versions_of_a_store_whose_clock_went_back_keep_their_order(
        self, store: SqlStore, other: SqlStore, tmp_path: Path
    ) -> None:
        for at, value in ((100, "1"), (50, "2"), (70, "3"), (60, "1")):
            user(store, at, a=value)
        export_all(store, tmp_path / "all.zip")
        assert arrive(other, tmp_path / "all.zip")["user"] == (4, 0, 0)
        assert arrive(other, tmp_path / "all.zip")["user"] == (0, 4, 0)
        assert held(other) == held(store)

    def test_a_slate_keeps_its_place_among_the_events(
        self, store: SqlStore, other: SqlStore, tmp_path: Path
    ) -> None:
        other.append(event_rows(*[VIEW] * 7), received_us=NOW)
        known = event_rows(replace(VIEW, event_id="both"))
        other.append(known, received_us=NOW)
        for n in range(4):
            store.append(known if n == 1 else event_rows(VIEW), received_us=NOW)
            store.log_decision(slate(f"r{n}", store.last_seq()))
        user(store, 1, a="1")
        store.log_decision(slate("r4", store.last_seq()))
        export_all(store, tmp_path / "all.zip")
        arrive(other, tmp_path / "all.zip")
        seqs = {d.request_id: d.seq for d in other.decisions()}
        assert seqs == {"r0": 9, "r1": 9, "r2": 10, "r3": 11, "r4": 12}
        assert arrive(other, tmp_path / "all.zip")["decision"] == (0, 5, 0)
        store.log_decision(slate("r9", 1))
        other.log_decision(replace(slate("r9", 1), slate_ids=("b",)))
        export_all(store, tmp_path / "all.zip")
        assert arrive(other, tmp_path / "all.zip")["decision"] == (0, 5, 1)

    def test_whoever_was_erased_stays_out_at_both_ends(
        self, store: SqlStore, other: SqlStore, tmp_path: Path
    ) -> None:
        world(store)
        export_all(store, tmp_path / "before.zip")
        arrive(other, tmp_path / "before.zip")
        known = other.counts()["events"]
        other.erase(ADA, at_us=NOW)
        left = other.counts()["events"]
        assert left < known
        told = arrive(other, tmp_path / "before.zip")
        assert told["event"][2] == known - left
        assert other.counts()["events"] == left
        assert not other.histories([ADA])[0].known
        dumped = json.dumps(list(other.dump()))
        assert ADA not in dumped
        assert ADA not in json.dumps([dict(r.raw) for r in other.quarantined()])
        store.erase(ADA, at_us=NOW)
        export_all(store, tmp_path / "after.zip")
        with zipfile.ZipFile(tmp_path / "after.zip") as packed:
            assert ADA.encode() not in packed.read("rows.jsonl")

    def test_a_later_version_of_a_line_whose_first_is_gone_comes_once(
        self, store: SqlStore, other: SqlStore, tmp_path: Path
    ) -> None:
        line = Event(type="purchase", user_id="old", event_id="L", order_id="o", value=1.0)
        late = replace(line, user_id="u", value=2.0)
        store.append(event_rows(line), received_us=NOW)
        store.append(event_rows(late), received_us=NOW)
        store.erase("old", at_us=NOW)
        assert store.counts()["events"] == 1
        # the file that it came with is read again
        told = store.append(event_rows(line, late), received_us=NOW)
        assert (told.accepted, told.duplicate, told.rejected) == (0, 1, 1)
        export_all(store, tmp_path / "all.zip")
        assert arrive(other, tmp_path / "all.zip")["event"] == (1, 0, 0)
        assert arrive(other, tmp_path / "all.zip")["event"] == (0, 1, 0)
        export_all(other, tmp_path / "back.zip")
        assert arrive(store, tmp_path / "back.zip")["event"] == (0, 1, 0)

    def test_what_is_no_longer_kept_is_refused(
        self, store: SqlStore, other: SqlStore, tmp_path: Path
    ) -> None:
        rows = event_rows(replace(VIEW, event_id="old"), replace(VIEW, event_id="new"))
        rows = rows.with_columns(t_us=pl.Series([NOW - 99 * DAY, NOW]))
        store.append(rows, received_us=NOW)
        export_all(store, tmp_path / "all.zip")
        other.expire(Cutoffs(events_us=NOW - DAY), at_us=NOW)
        assert arrive(other, tmp_path / "all.zip")["event"] == (1, 0, 1)

    def test_a_refused_row_that_was_repaired_does_not_come_back(
        self, store: SqlStore, other: SqlStore, tmp_path: Path
    ) -> None:
        rows = [QuarantinedRow("event", "bad_time", {"t": n}, source="record") for n in range(3)]
        store.quarantine(rows, received_us=NOW)
        export_all(store, tmp_path / "all.zip")
        assert arrive(other, tmp_path / "all.zip")["refused"] == (3, 0, 0)
        first = other.quarantined()[0]
        other.settle([Repair(first, "me")], outcome="dropped", at_us=NOW)
        assert arrive(other, tmp_path / "all.zip")["refused"] == (0, 3, 0)
        assert len(other.quarantined()) == 2

    def test_addresses_are_hashed_where_the_receiver_says_so(
        self, store: SqlStore, other: SqlStore, tmp_path: Path
    ) -> None:
        world(store)
        address = "ada@example.org"
        store.append(event_rows(replace(VIEW, user_id=address)), received_us=NOW)
        export_all(store, tmp_path / "all.zip")
        first = arrive(other, tmp_path / "all.zip", key=b"k" * 32)
        again = arrive(other, tmp_path / "all.zip", key=b"k" * 32)
        assert {n for n, _, _ in again.values()} == {0}
        assert first["event"][0] == again["event"][1]
        ids = set(other.snapshot().events["user_id"])
        assert address not in ids
        assert any(name.startswith("mail_") for name in ids)

    def test_a_damaged_export_stores_nothing(
        self, store: SqlStore, other: SqlStore, tmp_path: Path
    ) -> None:
        world(store)
        export_all(store, tmp_path / "all.zip")
        data = (tmp_path / "all.zip").read_bytes()
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
        store.backup(tmp_path / "backup.zip")
        wrong = (data[:-20], data[: len(data) // 3], b"", flipped)
        for broken in (*wrong, (tmp_path / "backup.zip").read_bytes()):
            (tmp_path / "x.zip").write_bytes(broken)
            with pytest.raises(InputError, match=r"damaged|no export"):
                arrive(other, tmp_path / "x.zip")
            assert other.last_seq() == 0
