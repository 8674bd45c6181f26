"""Killed while it appends, extends, compacts, snapshots or backs up: what was told is there.

``LIFELOOP_CHAOS_ROUNDS=100`` makes it a hundred kills.
"""

import os
import random
import signal
import time
from pathlib import Path

from lifeloop.store import open_store
from lifeloop.store.lake import write_snapshot
from lifeloop.testing.importer import forkserver
from lifeloop.testing.store_suite import NOW, VIEW, event_rows
from lifeloop.testing.store_suite_lake import ZONE, live, same

ROUNDS = int(os.environ.get("LIFELOOP_CHAOS_ROUNDS", "8"))
DAYS_US = 86_400_000_000


def work(place: str, seed: int) -> None:
    """Do everything that writes, over and over; tell each acknowledged event."""
    folder = Path(place)
    rng = random.Random(seed)
    store = open_store(f"sqlite:///{folder / 's.db'}")
    lake = store.lake(str(folder / "lake"), zone=ZONE)
    told = os.open(folder / "told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    (folder / "ready").touch()
    for n in range(10_000):
        row = event_rows(VIEW)
        row = row.with_columns(event_id=row["type"] + f"-{seed}-{n}", t_us=NOW + n * DAYS_US)
        store.append(row, received_us=NOW)
        os.write(told, f"view-{seed}-{n}\n".encode())
        live(store, rng, n=20)
        lake.extend()
        if n % 3 == 1:
            lake.compact()
        write_snapshot(lake.snapshot(), folder / "snapshot")
        store.backup(folder / "b.zip")


def test_a_kill_at_any_moment_loses_nothing_that_was_told(tmp_path: Path) -> None:
    rng = random.Random(20261127)
    processes = forkserver()
    kills = 0
    for round_ in range(ROUNDS):
        place = tmp_path / str(round_ // 10)  # what one kill leaves, the next round goes on with
        place.mkdir(exist_ok=True)
        (place / "ready").unlink(missing_ok=True)
        child = processes.Process(target=work, args=(str(place), round_))
        child.start()
        while not (place / "ready").exists():
            assert child.is_alive(), "the worker did not start"
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.4))
        child.kill()
        child.join()
        kills += child.exitcode == -signal.SIGKILL
        store = open_store(f"sqlite:///{place / 's.db'}")
        held = store.snapshot().events["event_id"]
        told = (place / "told").read_text().split("\n")[:-1]
        assert set(told) <= set(held), "an acknowledged event is gone"
        assert held.n_unique() == len(held)
        lake = store.lake(str(place / "lake"), zone=ZONE)
        reached = lake.status().seq
        assert same(lake.snapshot(), store.snapshot(seq=reached))
        lake.extend()
        assert same(lake.snapshot(), store.snapshot())
        if (place / "b.zip").exists():  # the former one or the new one, whole
            copy = open_store(f"sqlite:///{place / f'{round_}.db'}")
            seq = copy.restore(place / "b.zip")["seq"]
            assert same(copy.snapshot(), store.snapshot(seq=seq))
            copy.close()
        store.close()
    assert kills == ROUNDS
