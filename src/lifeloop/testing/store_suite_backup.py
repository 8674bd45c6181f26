"""The contract of a backup: one moment of a store that goes on, in a file for every database."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lifeloop.errors import StoreError
from lifeloop.events.records import Event
from lifeloop.store import open_store
from lifeloop.store.ledger import FILE as LEDGER
from lifeloop.store.secret import VARIABLE
from lifeloop.store.sql_store import SqlStore
from lifeloop.store.tables import metadata
from lifeloop.testing.store_suite import DAY, NOW, VIEW, event_rows
from lifeloop.testing.store_suite_lake import ZONE, live, same
from lifeloop.testing.store_suite_people import ADA, ADA_ROW, fill

NewUrl = Callable[[], str]


class BackupContract:
    """What the backup of every store promises. Needs a fixture ``new_url``: empty databases."""

    @pytest.fixture
    def store(self, new_url: NewUrl, tmp_path: Path) -> Iterator[SqlStore]:
        """An empty, open store."""
        store = open_store(new_url(), keys=tmp_path)
        yield store
        store.close()

    @pytest.mark.parametrize("into", ["own kind", "sqlite"])
    def test_a_restored_copy_holds_and_answers_the_same(
        self, store: SqlStore, new_url: NewUrl, tmp_path: Path, into: str
    ) -> None:
        fill(store)
        live(store, random.Random(1), n=200)
        store.erase("cy", at_us=NOW)
        store.publish("b1", {"ndcg": 0.1}, at_us=1)
        about = store.backup(tmp_path / "b.zip")
        assert about["rows"]["events"] == store.counts()["events"]
        url = new_url() if into == "own kind" else f"sqlite:///{tmp_path / 'copy.db'}"
        copy = open_store(url, keys=tmp_path)
        copy.restore(tmp_path / "b.zip")
        assert same(copy.snapshot(), store.snapshot())
        assert same(copy.snapshot(seq=20), store.snapshot(seq=20))
        with store._backend.read() as one, copy._backend.read() as two:
            for table in metadata.sorted_tables:
                query = table.select().order_by(*table.primary_key.columns)
                assert one.execute(query).all() == two.execute(query).all(), table.name
        assert copy.held(ADA) == store.held(ADA)
        assert copy.head() == store.head()
        # and it goes on: what is known is a duplicate, what is new gets the next number
        report = copy.append(event_rows(ADA_ROW, VIEW), received_us=NOW)
        assert (report.accepted, report.duplicate) == (1, 1)
        assert copy.last_seq() == store.last_seq() + 1
        copy.erase("bob", at_us=NOW)
        with pytest.raises(StoreError, match="empty database only"):
            copy.restore(tmp_path / "b.zip")
        copy.close()

    def test_a_backup_while_others_write_is_one_moment(
        self, store: SqlStore, new_url: NewUrl, tmp_path: Path
    ) -> None:
        live(store, random.Random(1), n=500)
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                store.append(event_rows(*[VIEW] * 20), received_us=NOW)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            told: list[int] = []
            until = time.monotonic() + 30  # a busy machine may let nobody write for a while
            while len(told) < 5 or (told[-1] == told[0] and time.monotonic() < until):
                told.append(store.backup(tmp_path / f"{len(told)}.zip")["seq"])
        finally:
            stop.set()
            writer.join()
        assert told[-1] > told[0]  # it did write meanwhile
        for n in (0, len(told) - 1):
            copy = open_store(f"sqlite:///{tmp_path / f'{n}.db'}")
            copy.restore(tmp_path / f"{n}.zip")
            assert copy.last_seq() == told[n]
            assert same(copy.snapshot(), store.snapshot(seq=told[n]))
            copy.close()

    def test_a_damaged_backup_restores_nothing(
        self, store: SqlStore, new_url: NewUrl, tmp_path: Path
    ) -> None:
        live(store, random.Random(1), n=300)
        store.backup(tmp_path / "b.zip")
        data = (tmp_path / "b.zip").read_bytes()
        copy = open_store(new_url(), keys=tmp_path)
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
        for broken in (data[:-20], data[: len(data) // 3], b"", flipped):
            (tmp_path / "x.zip").write_bytes(broken)
            with pytest.raises(StoreError, match="no sound backup"):
                copy.restore(tmp_path / "x.zip")
            assert copy.last_seq() == 0
            assert copy.counts()["events"] == 0
        copy.restore(tmp_path / "b.zip")
        copy.close()

    def test_a_lake_does_not_follow_a_restored_store_unasked(
        self, store: SqlStore, new_url: NewUrl, tmp_path: Path
    ) -> None:
        live(store, random.Random(1))
        store.lake(str(tmp_path / "lake"), zone=ZONE).extend()
        store.backup(tmp_path / "b.zip")
        copy = open_store(new_url(), keys=tmp_path)
        copy.restore(tmp_path / "b.zip")
        with pytest.raises(StoreError, match="before a restore"):
            copy.lake(str(tmp_path / "lake"), zone=ZONE).extend()
        copy.lake(str(tmp_path / "lake2"), zone=ZONE).extend()
        assert copy.kept.get("store", "epoch") != store.kept.get("store", "epoch")
        copy.close()

    # ------------------------------------------------------------ erased since

    def test_whoever_was_erased_since_is_erased_again_by_the_ledger(
        self, store: SqlStore, new_url: NewUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(VARIABLE, raising=False)
        fill(store)
        visit = Event(type="view", anonymous_id="alone", occurred_us=NOW)
        store.append(event_rows(visit), received_us=NOW)
        store.backup(tmp_path / "before.zip")
        for person in (ADA, "anon:alone"):
            store.erase(person, at_us=NOW + DAY)
        text = (tmp_path / LEDGER).read_text()
        assert ADA not in text
        copy = open_store(new_url(), keys=tmp_path)
        about = copy.restore(tmp_path / "before.zip")
        assert (about["ledger"], about["erased"]) == (True, 2)
        assert same(copy.snapshot(), store.snapshot())
        assert copy.held(ADA) == store.held(ADA)
        assert copy.append(event_rows(ADA_ROW, visit), received_us=NOW).rejected == 2
        assert [f for f in copy.check(now_us=NOW + DAY) if f.severity == "failure"] == []
        lake = copy.lake(str(tmp_path / "lake"), zone=ZONE)
        lake.extend()
        assert same(lake.snapshot(), copy.snapshot())
        copy.close()

    def test_without_ledger_the_backup_is_told_to_be_from_before(
        self, store: SqlStore, new_url: NewUrl, tmp_path: Path
    ) -> None:
        fill(store)
        store.backup(tmp_path / "b.zip")
        store.erase(ADA, at_us=NOW)
        (tmp_path / "elsewhere").mkdir()
        copy = open_store(new_url(), keys=tmp_path / "elsewhere")
        about = copy.restore(tmp_path / "b.zip")
        assert (about["ledger"], about["erased"]) == (False, 0)
        assert copy.histories([ADA])[0].known
        copy.close()

    def test_a_ledger_without_its_key_restores_nothing(
        self, store: SqlStore, new_url: NewUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(VARIABLE, raising=False)
        fill(store)
        store.backup(tmp_path / "b.zip")
        store.erase(ADA, at_us=NOW)
        (tmp_path / "other").mkdir()
        (tmp_path / LEDGER).rename(tmp_path / "other" / LEDGER)
        copy = open_store(new_url(), keys=tmp_path / "other")
        with pytest.raises(StoreError, match="is missing"):
            copy.restore(tmp_path / "b.zip")
        assert copy.counts()["events"] == 0
        copy.close()

    def test_a_ledger_that_lost_lines_is_completed_by_the_next_backup(
        self, store: SqlStore, tmp_path: Path
    ) -> None:
        fill(store)
        store.erase(ADA, at_us=NOW)
        ledger = tmp_path / LEDGER
        whole = ledger.read_bytes()
        ledger.write_bytes(whole[: len(whole) // 2])  # a crash in the middle of a line
        assert "ledger" in {f.check for f in store.check(now_us=NOW)}
        store.backup(tmp_path / "b.zip")
        assert "ledger" not in {f.check for f in store.check(now_us=NOW)}
        marks = {line.split(" ")[-1] for line in whole.decode().split("\n")}
        assert marks <= {line.split(" ")[-1] for line in ledger.read_text().split("\n")}
