"""Killed writers and writers side by side: nothing lost, nothing doubled."""

import random
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from lifeloop.store import open_store
from lifeloop.testing.importer import BATCH, Importer, N, forkserver, stored


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    return forkserver()


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
