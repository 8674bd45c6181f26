"""The contract of the lake, over every store: it answers as the store does, and forgets with it.

Subclass ``LakeContract`` as ``StoreContract``, with a fixture ``store_url``.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest

from lifeloop.contracts import Snapshot
from lifeloop.errors import SchemaTooNew, StoreError
from lifeloop.events.records import ITEM_SCHEMA, USER_SCHEMA, Event, Item, User, frame_of
from lifeloop.store import open_store
from lifeloop.store.lake import Lake, manifest, write_snapshot
from lifeloop.store.lake import lake as module
from lifeloop.store.lake.manifest import NAME, Manifest
from lifeloop.store.lake.parts import read_part
from lifeloop.store.sql_store import SqlStore
from lifeloop.testing.store_suite import DAY, NOW, event_rows

ZONE = "Asia/Shanghai"


def live(store: SqlStore, rng: random.Random, *, n: int = 60) -> None:
    """Let something happen on several days: events, versions, links, changed order lines."""
    rows = [
        Event(
            type=rng.choice(["view", "purchase"]),
            user_id=rng.choice(["ada", "bob", None]),
            anonymous_id=rng.choice(["x", "y"]),
            occurred_us=rng.choice([None, NOW + rng.randrange(5) * DAY + rng.randrange(DAY)]),
            item_id=f"i{rng.randrange(9)}",
            value=rng.random(),
            order_id=rng.choice([None, "o"]),
            event_id=f"e{rng.randrange(5 * n)}",
        )
        for _ in range(n)
    ]
    store.append(event_rows(*rows), received_us=NOW)
    items = [Item(item_id=f"i{rng.randrange(9)}", price=rng.random(), categories=("a", "b"))]
    store.put_items(frame_of(items, ITEM_SCHEMA), received_us=NOW)
    users = [User(user_id=rng.choice(["ada", "bob"]), attributes={"n": rng.random()})]
    store.put_users(frame_of(users, USER_SCHEMA), received_us=NOW)
    if rng.random() < 0.4 and store.person_of("x") == "anon:x":
        store.identify("x", "ada", received_us=NOW)


def same(one: Snapshot, other: Snapshot) -> bool:
    """Return whether two snapshots say the same."""
    return (
        one.events.equals(other.events)
        and one.users.equals(other.users)
        and one.items.equals(other.items)
        and (one.seq, one.as_of_us) == (other.seq, other.as_of_us)
    )


class LakeContract:
    """What the lake of every store promises. Needs a fixture ``store_url``."""

    @pytest.fixture
    def store(self, store_url: str, tmp_path: Path) -> Iterator[SqlStore]:
        """An empty, open store."""
        store = open_store(store_url, keys=tmp_path)
        yield store
        store.close()

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Where a local lake lies."""
        return tmp_path / "lake with space"

    @pytest.mark.parametrize("where", ["local", "memory"])
    def test_the_lake_answers_as_the_store_at_every_moment(
        self, store: SqlStore, folder: Path, where: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "SLICE", 37)
        url = str(folder) if where == "local" else f"memory://{uuid4().hex}/lake"
        lake = store.lake(url, zone=ZONE)
        rng = random.Random(3)
        seqs = []
        for round_ in range(6):
            live(store, rng)
            report = lake.extend()
            assert (report.seq, report.behind) == (store.last_seq(), 0)
            seqs.append(report.seq)
            if round_ == 3:
                before = lake.status().files
                assert lake.compact().files < before
        assert lake.extend().written == 0  # nothing new: nothing written
        for seq in (*seqs, seqs[2] - 5, None):
            for as_of in (None, NOW + 2 * DAY, NOW - 30 * DAY):
                wanted = store.snapshot(as_of_us=as_of, seq=seq)
                assert same(lake.snapshot(as_of_us=as_of, seq=seq), wanted), (seq, as_of)

    def test_a_snapshot_is_the_same_byte_for_byte_however_the_lake_grew(
        self, store: SqlStore, folder: Path, tmp_path: Path
    ) -> None:
        rng = random.Random(4)
        steps = store.lake(str(folder / "steps"), zone=ZONE)
        for _ in range(4):
            live(store, rng)
            steps.extend()
        middle = store.last_seq() // 2
        whole = store.lake(str(folder / "steps"), zone=ZONE)
        told = [
            write_snapshot(steps.snapshot(seq=middle), tmp_path / "1"),
            write_snapshot(store.snapshot(seq=middle), tmp_path / "2"),
        ]
        live(store, rng)
        whole.extend()
        whole.compact()
        told.append(write_snapshot(whole.snapshot(seq=middle), tmp_path / "3"))
        assert told[0] == told[1] == told[2]
        for name in [*told[0], "snapshot.json"]:
            held = {(tmp_path / n / name).read_bytes() for n in "123"}
            assert len(held) == 1, name

    def test_days_are_those_of_the_zone(self, store: SqlStore, folder: Path) -> None:
        late = Event(type="view", user_id="u", occurred_us=1_700_064_000_000_000)  # 16:00 UTC
        store.append(event_rows(late, replace(late, occurred_us=None)), received_us=NOW)
        store.lake(str(folder), zone=ZONE).extend()
        assert sorted(p.name for p in (folder / "events").iterdir()) == [
            "day=2023-11-16",
            "day=untimed",
        ]
        with pytest.raises(StoreError, match="another time zone"):
            store.lake(str(folder), zone="UTC").extend()
        other = store.lake(str(folder), zone="UTC")
        assert other.rebuild().behind == 0
        assert (folder / "events" / "day=2023-11-15").is_dir()

    def test_the_lake_forgets_the_erased_in_its_files(self, store: SqlStore, folder: Path) -> None:
        rng = random.Random(6)
        lake = store.lake(str(folder), zone=ZONE)
        for _ in range(3):
            live(store, rng)
            lake.extend()
        lake.compact()
        live(store, rng)
        lake.extend()
        store.erase("ada", at_us=NOW)
        with pytest.raises(StoreError, match="erased"):
            lake.snapshot()
        assert lake.extend().rewritten > 0
        assert same(lake.snapshot(), store.snapshot())
        files = [p for p in folder.rglob("*") if p.suffix == ".parquet"]
        for path in files:
            frame = pl.read_parquet(path)
            for column in set(frame.columns) & {"user_id", "anonymous_id"}:
                assert "ada" not in frame[column].to_list()
        listed = Manifest.read(lake._files)
        assert listed is not None
        assert {str(p.relative_to(folder)) for p in files} == {p.path for p in listed.parts}
        assert lake.extend().rewritten == 0

    def test_what_a_dead_writer_left_is_swept(self, store: SqlStore, folder: Path) -> None:
        live(store, random.Random(1))
        lake = store.lake(str(folder), zone=ZONE)
        lake.extend()
        stray = folder / "events" / "day=2023-11-16" / "000-001-dead.parquet"
        stray.write_bytes(b"half a file")
        assert same(lake.snapshot(), store.snapshot())
        lake.extend()
        assert not stray.exists()

    def test_files_that_a_reader_may_hold_outlive_one_compaction(
        self, store: SqlStore, folder: Path
    ) -> None:
        rng = random.Random(2)
        lake = store.lake(str(folder), zone=ZONE)
        for _ in range(2):
            live(store, rng)
            lake.extend()
        held = Manifest.read(lake._files)
        assert held is not None
        lake.compact()
        assert sum(read_part(lake._files, part).height for part in held.parts) > 0

    def test_damage_and_newer_lakes_are_told(self, store: SqlStore, folder: Path) -> None:
        live(store, random.Random(1))
        lake = store.lake(str(folder), zone=ZONE)
        lake.extend()
        path = next(p for p in folder.rglob("*.parquet") if "events" in str(p))
        data = path.read_bytes()
        path.write_bytes(data[:-1])
        with pytest.raises(StoreError, match="not what was written"):
            lake.snapshot()
        path.unlink()
        with pytest.raises(StoreError, match=r"missing.*rebuild"):
            lake.snapshot()
        lake.rebuild()
        assert same(lake.snapshot(), store.snapshot())
        listed = folder / NAME
        body = json.loads(listed.read_text())
        listed.write_text(json.dumps(body | {"schema": 99}))
        with pytest.raises(SchemaTooNew, match="newer lifeloop"):
            lake.snapshot()
        listed.write_text("{")
        with pytest.raises(StoreError, match="damaged"):
            lake.snapshot()

    def test_files_from_before_a_column_was_added_hold_null_in_it(
        self, store: SqlStore, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        live(store, random.Random(1))
        older = {k: v for k, v in manifest.TABLES["events"].items() if k != "referrer_id"}
        monkeypatch.setitem(manifest.TABLES, "events", older)
        lake = store.lake(str(folder), zone=ZONE)
        lake.extend()
        monkeypatch.undo()
        live(store, random.Random(2))
        lake.extend()
        lake.compact()
        assert same(lake.snapshot(), store.snapshot())

    def test_a_lake_of_another_store_is_refused(
        self, store: SqlStore, folder: Path, tmp_path: Path
    ) -> None:
        live(store, random.Random(1))
        store.lake(str(folder), zone=ZONE).extend()
        other = open_store(f"sqlite:///{tmp_path / 'other.db'}")
        with pytest.raises(StoreError, match="another store"):
            other.lake(str(folder), zone=ZONE).extend()
        other.close()

    def test_a_number_beyond_the_lake_is_refused(self, store: SqlStore, folder: Path) -> None:
        lake: Lake = store.lake(str(folder), zone=ZONE)
        lake.extend()
        assert same(lake.snapshot(), store.snapshot())
        live(store, random.Random(1))
        with pytest.raises(StoreError, match=r"does not reach.*extend"):
            lake.snapshot(seq=store.last_seq())
