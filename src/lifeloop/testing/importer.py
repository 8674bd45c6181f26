"""An importing process that a test can kill, for stores of every kind."""

import multiprocessing
import os
import signal
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import polars as pl

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
        """Let it begin."""
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


def forkserver() -> ForkServerContext:
    """Return a context whose processes start quickly: the libraries are loaded once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lifeloop.testing.store_suite", "lifeloop.store.sqlite"])
    return context


def stored(url: str) -> pl.Series:
    """Return the event ids that are stored, after the store was found to agree with itself."""
    store = open_store(url)
    events = store.snapshot().events
    assert store.counts()["events"] == events.height
    assert store.last_seq() == (events["seq"].max() or 0)
    store.close()
    ids = events["event_id"]
    assert ids.n_unique() == len(ids)
    return ids
