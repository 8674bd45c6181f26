"""A full disk under the lake, a backup or an export: what was there before is there, whole."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lifeloop.contracts import Cutoffs
from lifeloop.errors import StoreError, StoreFull
from lifeloop.store import open_store
from lifeloop.store.sql_store import SqlStore
from lifeloop.testing.full_disk import small_disk
from lifeloop.testing.postgres import own_schema, postgres_server
from lifeloop.testing.store_suite import DAY, NOW, VIEW, event_rows
from lifeloop.testing.store_suite_lake import ZONE, same
from lifeloop.transfer import export_all

KINDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.extras)]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    """A store whose own disk has room."""
    if request.param == "sqlite":
        held = open_store(f"sqlite:///{tmp_path / 's.db'}", keys=tmp_path)
        yield held
        held.close()
        return
    with postgres_server() as server, own_schema(server) as url:
        held = open_store(url, keys=tmp_path)
        yield held
        held.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    with small_disk(tmp_path / "small", size_mb=4, ballast_mb=2) as make_room:
        yield tmp_path / "small", make_room


def fill(store: SqlStore, n: int, first: int) -> None:
    """Append events with 1 kB each that nothing compresses."""
    noise = np.random.default_rng(first).bytes(n * 500).hex()
    texts = [noise[at * 1000 : (at + 1) * 1000] for at in range(n)]
    rows = event_rows(VIEW).drop("event_id", "t_us", "text", "user_id")
    numbers = pl.DataFrame(
        {
            "event_id": [f"e{first + k}" for k in range(n)],
            "user_id": [f"u{k % 7}" for k in range(n)],
            "t_us": [NOW + (first + k) % 5 * DAY for k in range(n)],
            "text": texts,
        }
    )
    store.append(rows.join(numbers, how="cross").select(event_rows(VIEW).columns), received_us=NOW)


def files(place: Path) -> set[str]:
    return {str(p.relative_to(place)) for p in place.rglob("*") if p.is_file()}


def test_a_lake_on_a_full_disk_is_as_it_was_and_goes_on_when_there_is_room(
    store: SqlStore, disk: tuple[Path, Callable[[], None]]
) -> None:
    place, make_room = disk
    lake = store.lake(str(place / "lake"), zone=ZONE)
    fill(store, 400, 0)
    reached = lake.extend().seq
    fill(store, 5000, 400)
    with pytest.raises(StoreFull, match="the lake is as it was before"):
        lake.extend()
    assert lake.status().seq == reached
    assert same(lake.snapshot(), store.snapshot(seq=reached))
    assert not [name for name in files(place) if name.endswith(".draft")]
    store.erase("u3", at_us=NOW)
    if lake.status().seq == reached:  # whoever was erased is not told from a lake that lags
        with pytest.raises(StoreError, match="erased"):
            lake.snapshot()
    make_room()
    store.expire(_all_but_the_newest(), at_us=NOW)
    lake.extend()
    assert same(lake.snapshot(), store.snapshot())
    assert "u3" not in set(lake.snapshot().events["user_id"])


def _all_but_the_newest() -> Cutoffs:
    return Cutoffs(events_us=NOW + 3 * DAY)


@pytest.mark.parametrize("kind", ["backup", "export"])
def test_a_copy_that_finds_the_disk_full_leaves_the_former_one(
    store: SqlStore, disk: tuple[Path, Callable[[], None]], kind: str
) -> None:
    place, make_room = disk
    path = place / "copy.zip"

    def write() -> None:
        store.backup(path) if kind == "backup" else export_all(store, path)

    fill(store, 400, 0)
    write()
    former = path.read_bytes()
    fill(store, 5000, 400)
    with pytest.raises(StoreFull, match=f"disk of the {kind} is full; no {kind} was made"):
        write()
    assert path.read_bytes() == former
    assert files(place) <= {"copy.zip", "ballast"}
    make_room()
    write()
    assert path.read_bytes() != former
    assert store.counts()["events"] == 5400
