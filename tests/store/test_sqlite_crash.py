"""Killed writers and writers side by side: nothing lost, nothing doubled."""

import multiprocessing
import os
import random
import signal
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import polars as pl
import pytest

from lifeloop.store import open_store
from lifeloop.testing.store_suite import NOW, VIEW, event_rows

N, BATCH = 20_000, 500


def import_all(url: str, log: str, gate: str) -> None:
    """Import N rows in bulk; write a line to ``log`` after each acknowledged batch."""
    numbers = pl.DataFrame({"n": range(N)})
    rows = (
        event_rows(VIEW)
        .join(numbers, how="cross")
        .with_columns(
            event_id=pl.format("e{}", "n"),
            user_id=pl.format("u{}", pl.col("n") % 97),
            t_us=NOW + pl.col("n"),
            occurred_us=NOW + pl.col("n"),
            content=pl.col("n").cast(pl.String).str.pad_start(32, "0"),
        )
    )
    told = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    store = open_store(url)
    os.write(told, b"ready\n")
    while not os.path.exists(gate):
        time.sleep(0.001)
    accepted = 0
    with store.bulk():
        for start in range(0, N, BATCH):
            part = rows[start : start + BATCH].drop("n")
            accepted += store.append(part, received_us=NOW).accepted
            os.write(told, f"{start + BATCH}\n".encode())
    os.write(told, f"accepted {accepted}\n".encode())
    store.close()


class Importer:
    """One importing process, started and waiting at its gate."""

    def __init__(self, processes: ForkServerContext, url: str, place: Path, name: str) -> None:
        self.log, self.gate = place / f"{name}.log", place / f"{name}.gate"
        self.child: ForkServerProcess = processes.Process(
            target=import_all, args=(url, str(self.log), str(self.gate))
        )
        self.child.start()
        while not self.log.exists() or "ready" not in self.log.read_text():
            assert self.child.is_alive(), "the importer did not start"
            time.sleep(0.002)

    def go(self) -> None:
        self.gate.touch()

    def kill(self) -> bool:
        self.child.kill()
        self.child.join()
        return self.child.exitcode == -signal.SIGKILL

    def finish(self) -> int:
        self.child.join()
        assert self.child.exitcode == 0
        return int(self.log.read_text().split("accepted ")[1])

    @property
    def acknowledged(self) -> int:
        whole = [line for line in self.log.read_text().split("\n")[:-1] if line.isdigit()]
        return int(whole[-1]) if whole else 0


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lifeloop.testing.store_suite", "lifeloop.store.sqlite"])
    return context


def stored(url: str) -> pl.Series:
    store = open_store(url)
    events = store.snapshot().events
    assert store.counts()["events"] == events.height
    assert store.last_seq() == (events["seq"].max() or 0)
    store.close()
    ids = events["event_id"]
    assert ids.n_unique() == len(ids)
    return ids


def test_an_import_killed_at_any_moment_loses_and_doubles_nothing(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    rng = random.Random(20261125)
    url = f"sqlite:///{tmp_path / 'whole.db'}"
    whole = Importer(processes, url, tmp_path, "whole")
    began = time.perf_counter()
    whole.go()
    assert whole.finish() == N
    whole_s = time.perf_counter() - began
    kills = 0
    for round_ in range(12):
        if round_ % 4 == 0:  # a new file: its first import is killed, then the ones that resume
            url = f"sqlite:///{tmp_path / f'{round_}.db'}"
        importer = Importer(processes, url, tmp_path, f"round{round_}")
        importer.go()
        time.sleep(rng.uniform(0.0, whole_s * 0.6))
        kills += importer.kill()
        ids = stored(url)
        done = importer.acknowledged
        assert set(ids) >= {f"e{n}" for n in range(done)}, "an acknowledged event is gone"
        assert len(ids) % BATCH == 0, "half a batch was stored"
    assert kills >= 6, "the imports were over before they could be killed: raise N"
    last = Importer(processes, url, tmp_path, "last")
    last.go()
    assert last.finish() == N - len(ids)
    assert set(stored(url)) == {f"e{n}" for n in range(N)}


def test_two_processes_that_import_the_same_rows_store_them_once(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    both = [Importer(processes, url, tmp_path, name) for name in ("one", "two")]
    for importer in both:
        importer.go()
    accepted = [importer.finish() for importer in both]
    assert sum(accepted) == N
    assert set(stored(url)) == {f"e{n}" for n in range(N)}


def test_two_processes_may_create_the_database_at_once(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    for round_ in range(3):
        url = f"sqlite:///{tmp_path / f'{round_}.db'}"
        children = [processes.Process(target=open_and_close, args=(url,)) for _ in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0, 0, 0]


def open_and_close(url: str) -> None:
    open_store(url).close()
