"""A process that does everything that writes, killed at any moment, for stores of every kind."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl

from lifeloop.config import Scenario
from lifeloop.contracts import Snapshot
from lifeloop.events import ReadOptions
from lifeloop.events.records import Event
from lifeloop.intake import import_file
from lifeloop.store import open_store
from lifeloop.store.lake import write_snapshot
from lifeloop.store.sql_store import SqlStore
from lifeloop.testing.importer import forkserver
from lifeloop.testing.store_suite import NOW, VIEW, event_rows
from lifeloop.testing.store_suite_lake import ZONE, live, same
from lifeloop.transfer import export_all, import_all

DAYS_US = 86_400_000_000
ROWS, BAD = 300, 3
SHOP = Scenario.load("ecommerce")


def work(url: str, place: str, seed: int) -> None:
    """Append, import, extend, compact, snapshot, back up, export and erase, over and over.

    Each event, file and erasure that was acknowledged is told in the file ``told``.
    """
    folder = Path(place)
    rng = random.Random(seed)
    store = open_store(url, keys=folder)
    lake = store.lake(str(folder / "lake"), zone=ZONE)
    book = os.open(folder / "told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def told(text: str) -> None:
        os.write(book, f"{text}\n".encode())

    (folder / "ready").touch()
    for n in range(10_000):
        name = f"{seed}-{n}"
        row = event_rows(VIEW)
        row = row.with_columns(event_id=row["type"] + f"-{name}", t_us=NOW + n * DAYS_US)
        store.append(row, received_us=NOW)
        told(f"event view-{name}")
        live(store, rng, n=20)
        for step in rng.sample(("lake", "compact", "snapshot", "backup", "file", "erase"), 6):
            if step == "lake":
                lake.extend()
            elif step == "compact" and lake.status().files:
                lake.compact()
            elif step == "snapshot":
                lake.extend()
                write_snapshot(lake.snapshot(), folder / "snapshot")
            elif step == "backup":
                store.backup(folder / "b.zip")
                export_all(store, folder / "all.zip")
            elif step == "file":
                _import(store, folder, name)
                told(f"file {name}")
            elif step == "erase":
                visits = [
                    Event(type="view", user_id=f"gone-{name}", event_id=f"gone-{name}-{k}")
                    for k in range(3)
                ]
                store.append(event_rows(*visits), received_us=NOW)
                store.erase(f"gone-{name}", at_us=NOW)
                told(f"erased gone-{name}")


def _import(store: SqlStore, folder: Path, name: str) -> None:
    path = folder / f"{name}.csv"
    lines = [f"f-{name},view,i{n},2024-01-02\n" for n in range(ROWS)]
    lines += ["f,view,i,30 February 2024\n"] * BAD
    path.write_text("user_id,type,item_id,occurred_at\n" + "".join(lines))
    options = ReadOptions(source=name)
    import_file(store, path, "event", options=options, scenario=SHOP, clock=lambda: NOW)


def killed_rounds(
    rounds: int, folder: Path, *, new_url: Callable[[], str], longest_s: float, seed: int
) -> None:
    """Kill the working process ``rounds`` times, and look each time at what it left."""
    rng = random.Random(seed)
    processes = forkserver()
    kills, url, place = 0, "", folder
    for round_ in range(rounds):
        if round_ % 10 == 0:  # what one kill leaves, the next round goes on with
            url, place = new_url(), folder / str(round_ // 10)
            place.mkdir()
        (place / "ready").unlink(missing_ok=True)
        child = processes.Process(target=work, args=(url, str(place), round_))
        child.start()
        while not (place / "ready").exists():
            assert child.is_alive(), "the worker did not start"
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, longest_s))
        child.kill()
        child.join()
        kills += child.exitcode == -signal.SIGKILL
        store = open_store(url, keys=place)
        _looked_at(store, place, round_)
        store.close()
    assert kills == rounds
    store = open_store(url, keys=place)
    store.backup(place / "b.zip")
    export_all(store, place / "all.zip")
    store.close()
    assert not list(place.glob(".*.draft")), "drafts of killed processes are left"


def _looked_at(store: SqlStore, place: Path, round_: int) -> None:
    events = store.snapshot().events
    held = events["event_id"]
    assert held.n_unique() == len(held), "an event is stored twice"
    said = [line.split(" ") for line in (place / "told").read_text().split("\n")[:-1]]
    told = {kind: {what for k, what in said if k == kind} for kind, _ in said}
    assert told.get("event", set()) <= set(held), "an acknowledged event is gone"
    per_user = dict(events.group_by("user_id").len().iter_rows())
    for name in told.get("file", ()):
        assert per_user[f"f-{name}"] == ROWS, "rows of an acknowledged file are gone or doubled"
    assert not told.get("erased", set()) & set(per_user), "somebody erased is there"
    assert all(n == 3 for name, n in per_user.items() if name.startswith("gone-")), "half erased"
    _resumed(store, place)
    lake = store.lake(str(place / "lake"), zone=ZONE)
    reached = lake.status().seq
    assert reached <= store.last_seq()
    lake.extend()
    assert same(lake.snapshot(), store.snapshot())
    for name, read in (("b.zip", _restored), ("all.zip", _moved)):
        if (place / name).exists():  # the former one or the new one, whole
            copy = open_store(f"sqlite:///{place / f'{round_}-{name}.db'}", keys=place)
            read(copy, place / name, store)
            copy.close()


def _resumed(store: SqlStore, place: Path) -> None:
    """Import the file that the kill cut off again: all of it is there, once."""
    for path in place.glob("*.csv"):
        _import(store, place, path.stem)
        rows = store.snapshot().events.filter(pl.col("user_id") == f"f-{path.stem}")
        assert rows.height == ROWS
        assert len([r for r in store.quarantined() if r.source == path.stem]) == BAD
        path.unlink()


def _restored(copy: SqlStore, path: Path, store: SqlStore) -> None:
    seq = copy.restore(path)["seq"]
    # Whoever was erased since is not in the copy either: the ledger was applied to it. The ledger
    # comes first, so that of an erasure cut off by the kill may be done in the copy alone.
    assert same(_others(copy.snapshot()), _others(store.snapshot(seq=seq)))


def _others(snapshot: Snapshot) -> Snapshot:
    """Return the same without those who are being erased."""
    gone = pl.col("event_id").str.starts_with("gone-")
    return replace(snapshot, events=snapshot.events.filter(~gone))


def _moved(copy: SqlStore, path: Path, store: SqlStore) -> None:
    import_all(copy, path, scenario=SHOP, clock=lambda: NOW)
    assert not {e for e in _ever(copy) if not e.startswith("gone-")} - _ever(store)


def _ever(store: SqlStore) -> set[str]:
    """Return the ids of all events held, versions that newer ones stand in for among them."""
    return {row["event_id"] for row in store.dump() if row["row"] == "event"}
