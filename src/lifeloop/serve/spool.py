"""Decisions that the store could not take: on the local disk, synced, replayed when it can.

One file per process, locked while the process lives. A file whose process died is replayed by
any other. A decision replayed twice is one decision: the store knows its request id.
"""

import fcntl
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import msgspec

from lifeloop.contracts import Decision
from lifeloop.errors import InputError

Log = Callable[[Decision], None]


class Spool:
    """The decisions of this process that wait."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many decisions of this process wait."""
        return self._waiting

    def add(self, decision: Decision) -> bool:
        """Keep a decision on the disk; False where even that is impossible."""
        line = msgspec.json.encode(asdict(decision)) + b"\n"
        with self._lock:
            start: int | None = None
            try:
                file = self._opened()
                start = file.tell()
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                self._cut(start)
                return False
            self._waiting += 1
            return True

    def replay(self, log: Log) -> int:
        """Hand every waiting decision to ``log``; return how many it took.

        Raises
        ------
        StoreError
            From ``log``: the store is down still, and what was not taken waits on.
        """
        taken = 0
        with self._lock:
            if self._file is not None:
                taken += _replayed(self._file, log)
                self._close(remove=True)
        for path in sorted(self._folder.glob("*.jsonl")):
            taken += _adopted(path, log)
        return taken

    def close(self) -> None:
        """Leave what waits to the next process."""
        with self._lock:
            self._close(remove=self._waiting == 0)

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{uuid.uuid4().hex}.jsonl"
            self._file = path.open("a+b")
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX)
        return self._file

    def _cut(self, start: int | None) -> None:
        """Take half a line away again, so that the next one starts on a line of its own."""
        if self._file is None or start is None:
            return
        try:
            self._file.truncate(start)
        except (OSError, ValueError):
            self._file = None  # left to be adopted: its damaged last line is skipped

    def _close(self, *, remove: bool) -> None:
        if self._file is None:
            return
        if remove:
            Path(self._file.name).unlink(missing_ok=True)
            self._waiting = 0
        self._file.close()
        self._file = None


def _adopted(path: Path, log: Log) -> int:
    """Replay the file of a process that is no more."""
    try:
        with path.open("r+b") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = _replayed(file, log)
            path.unlink(missing_ok=True)
            return taken
    except (BlockingIOError, FileNotFoundError):  # its process lives, or another was faster
        return 0


def _replayed(file: IO[bytes], log: Log) -> int:
    file.seek(0)
    taken = 0
    for line in file.read().split(b"\n"):
        decision = _decision(line)
        if decision is None:
            continue
        try:
            log(decision)
        except InputError:
            continue
        taken += 1
    return taken


def _decision(line: bytes) -> Decision | None:
    """Return one decision; None for the half line of a crash in the middle of a write."""
    try:
        held: dict[str, Any] = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    for name in ("candidate_ids", "candidate_scores", "slate_ids", "propensities"):
        held[name] = None if held[name] is None else tuple(held[name])
    return Decision(**held)
