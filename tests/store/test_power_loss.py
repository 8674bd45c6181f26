"""Power lost at any moment: what was acknowledged is on the disk, and nothing there is half.

A library that is preloaded into the writing process keeps a copy of every file as it was when it
was last synced, and of the names in every folder likewise. From that the disk is made anew as it
would be found after a loss of power at a moment, in two ways: nothing that was not synced is there;
or every name is there (renamed, made, removed), and what was not synced in the files is not.
``LIFELOOP_CHAOS_ROUNDS`` makes it every moment instead of a few.
"""

import ctypes
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from lifeloop.config import Scenario
from lifeloop.errors import LifeloopError
from lifeloop.events import ReadOptions
from lifeloop.events.records import Event
from lifeloop.intake import import_file
from lifeloop.store import load_bundle, open_store, save_bundle
from lifeloop.testing.store_suite import DAY, NOW, event_rows
from lifeloop.testing.store_suite_lake import ZONE, same
from lifeloop.testing.store_suite_transfer import slate
from lifeloop.transfer import export_all, import_all

SHOP = Scenario.load("ecommerce")
EVERY = "LIFELOOP_CHAOS_ROUNDS" in os.environ
MOMENTS = 10


def work(place: Path) -> None:
    """Do everything that writes, and mark what was acknowledged."""
    library = ctypes.CDLL(None)

    def told(text: str) -> None:
        library.lifeloop_mark(text.encode())

    def happens(name: str, day: int = 0) -> None:
        event = Event(type="view", user_id=f"u-{name}", event_id=name, item_id="i")
        row = event_rows(event).with_columns(t_us=NOW + day * DAY)
        store.append(row, received_us=NOW)
        told(f"event {name}")

    def publish(name: str) -> None:
        save_bundle(place / "bundles", name, {"part": {"x": np.arange(3)}}, {"n": 1})
        store.publish(name, {}, at_us=1)
        told(f"bundle {name}")

    store = open_store(f"sqlite:///{place / 's.db'}", keys=place)
    lake = store.lake(str(place / "lake"), zone=ZONE)
    happens("e0")
    told(f"lake {lake.extend().seq}")
    (place / "a.csv").write_text("".join(["user_id,type\n", *(f"c{n},view\n" for n in range(50))]))
    options = ReadOptions(source="a")
    import_file(store, place / "a.csv", "event", options=options, scenario=SHOP, clock=lambda: NOW)
    told("file 50")
    happens("e1", day=1)
    told(f"backup {store.backup(place / 'b.zip')['seq']}")
    publish("b1")
    store.log_decision(slate("r1", store.last_seq()))
    told("slate r1")
    told(f"lake {lake.extend().seq}")
    with store.bulk():  # committed, and not synced before the block ends
        happens_not_yet = Event(type="view", user_id="u", event_id="bulk", item_id="i")
        store.append(event_rows(happens_not_yet), received_us=NOW)
        other = open_store(f"sqlite:///{place / 's.db'}", keys=place)
        told(f"lake {other.lake(str(place / 'lake'), zone=ZONE).extend().seq}")
        other.close()
    told("event bulk")
    store.erase("u-e0", at_us=NOW)
    told("erased u-e0")
    lake.compact() if lake.extend().rewritten else None
    told(f"lake {lake.status().seq}")
    happens("e2", day=2)
    told(f"backup {store.backup(place / 'b.zip')['seq']}")
    publish("b2")
    export_all(store, place / "all.zip")
    told("export")
    told(f"lake {lake.extend().seq}")
    told(f"lake {lake.compact().seq}")
    happens("e3")
    store.close()


# ---------------------------------------------------------------- the disk


@dataclass
class Disk:
    """What is durable at one moment."""

    root: str
    copies: Path
    files: dict[str, str] = field(default_factory=dict)  # inode -> copy
    folders: dict[str, dict[str, str]] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)  # path -> inode, as a process sees it
    told: list[str] = field(default_factory=list)

    def after(self, line: str) -> None:
        """Follow one line of the log."""
        kind, *parts = line.split("\t")
        pairs = dict(part.rsplit("=", 1) for part in parts if "=" in part)
        if kind == "F":
            self.files[parts[0]] = parts[1]
        elif kind == "D":
            self.folders[parts[0]] = pairs
        elif kind == "T":
            self.seen = pairs
        else:
            self.told.append(parts[0])

    def made(self, place: Path, *, names: bool) -> None:
        """Write the disk as it is found after the loss; ``names``: all of them are there."""
        place.mkdir(parents=True)
        if names:
            for path, inode in sorted(self.seen.items()):
                self._put(place / path, inode)
        else:
            self._below(place, self.root)

    def _below(self, place: Path, folder: str) -> None:
        for name, inode in self.folders.get(folder, {}).items():
            self._put(place / name, inode)
            if _is_folder(inode):
                self._below(place / name, inode)

    def _put(self, path: Path, inode: str) -> None:
        if _is_folder(inode):
            path.mkdir(exist_ok=True)
            return
        if inode in self.files:
            shutil.copyfile(self.copies / self.files[inode], path)
        else:
            path.touch()
        path.chmod(int(inode.rsplit("-", 1)[1], 8) & 0o777)


def _is_folder(inode: str) -> bool:
    return int(inode.rsplit("-", 1)[1], 8) & 0o170000 == 0o040000


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, list[str]]:
    """Return the folder's inode, the copies, and the lines of the log of one run."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("following sync calls needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("power")
    source = Path(__file__).with_name("power_loss.c")
    library = folder / "power_loss.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    disk, durable = folder / "disk", folder / "durable"
    disk.mkdir()
    durable.mkdir()
    code = "import sys, pathlib, test_power_loss as t; t.work(pathlib.Path(sys.argv[1]))"
    env = {**os.environ, "LD_PRELOAD": str(library), "LIFELOOP_DISK": str(disk)}
    env |= {"LIFELOOP_DURABLE": str(durable)}
    env["PYTHONPATH"] = (
        os.pathsep.join([str(Path(__file__).parent), os.environ["PYTHONPATH"]])
        if ("PYTHONPATH" in os.environ)
        else str(Path(__file__).parent)
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(disk)], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = (durable / "log").read_text().splitlines()
    own = str(disk.stat().st_ino)
    root = next(line.split("\t")[1] for line in lines if line.startswith(f"D\t{own}-"))
    return root, durable, lines


def moments(lines: list[str]) -> Iterator[int]:
    """Yield the moments at which power is lost: after lines of the log."""
    every = [n for n, line in enumerate(lines, start=1) if line.startswith("T")]
    yield from every if EVERY else sorted(random.Random(20261128).sample(every, MOMENTS))
    if not EVERY:
        yield every[-1]


@pytest.mark.parametrize("names", [False, True], ids=["nothing unsynced", "all names"])
def test_what_was_acknowledged_outlives_a_loss_of_power_at_any_moment(
    log: tuple[str, Path, list[str]], tmp_path: Path, names: bool
) -> None:
    root, copies, lines = log
    assert sum(line.startswith("A") for line in lines) >= 15
    for moment in moments(lines):
        disk = Disk(root, copies)
        for line in lines[:moment]:
            disk.after(line)
        place = tmp_path / str(moment)
        disk.made(place, names=names)
        try:
            check(place, disk.told)
        except (AssertionError, LifeloopError, OSError) as fault:
            raise AssertionError(f"after line {moment}, told {disk.told}: {fault}") from fault
        shutil.rmtree(place)


def check(place: Path, told: list[str]) -> None:
    """Look for everything that was told, and for anything half."""
    said = [line.partition(" ")[::2] for line in told]
    store = open_store(f"sqlite:///{place / 's.db'}", keys=place)
    held = store.snapshot().events
    ids = set(held["event_id"])
    erased = {what for kind, what in said if kind == "erased"}
    for kind, what in said:
        if kind == "event":
            gone = f"u-{what}" in erased or (what == "e0" and f"u-{what}" not in held["user_id"])
            assert what in ids or gone, f"event {what} is gone"
        elif kind == "file":
            assert held.filter(held["user_id"].str.starts_with("c")).height == 50
        elif kind == "slate":
            assert store.decided([what])[0] is not None
        elif kind == "erased":
            event = event_rows(Event(type="view", user_id=what, event_id="again"))
            assert what not in set(held["user_id"])
            assert store.append(event, received_us=NOW).rejected == 1
        elif kind == "bundle":
            load_bundle(place / "bundles", what, verify=True)
    active = store.active_bundle()
    if active is not None:
        load_bundle(place / "bundles", active, verify=True)
    assert [f for f in store.check(now_us=NOW + 9 * DAY) if f.severity == "failure"] == []
    lake = store.lake(str(place / "lake"), zone=ZONE)
    reached = lake.status().seq
    assert max([0, *(int(what) for kind, what in said if kind == "lake")]) <= reached
    assert reached <= store.last_seq(), "the lake holds what the store has lost"
    lake.extend()
    assert same(lake.snapshot(), store.snapshot())
    store.close()
    seqs = [int(what) for kind, what in said if kind == "backup"]
    if seqs or (place / "b.zip").exists():
        copy = open_store(f"sqlite:///{place / 'copy.db'}", keys=place)
        assert copy.restore(place / "b.zip")["seq"] >= max([0, *seqs])
        copy.close()
    if ("export", "") in said or (place / "all.zip").exists():
        copy = open_store(f"sqlite:///{place / 'moved.db'}")
        import_all(copy, place / "all.zip", scenario=SHOP, clock=lambda: NOW)
        assert copy.counts()["events"] > 50
        copy.close()
