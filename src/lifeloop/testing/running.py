"""The real service in processes of its own, for tests that stop, kill and load it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from lifeloop import Lifeloop
from lifeloop.serve import keys

READY_S = 40.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server: where it listens, a key of every role, its process."""

    url: str
    key: str
    process: subprocess.Popen[bytes]

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        told = subprocess.run(
            ["ps", "-ww", "--ppid", str(self.process.pid), "-o", "pid=,args="],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        rows = [line.split(maxsplit=1) for line in told.splitlines()]
        return [int(pid) for pid, args in rows if "spawn_main" in args]

    def kill_worker(self) -> float:
        """End one worker without a word; return how long until another stands in its place."""
        before = self.workers()
        os.kill(before[0], signal.SIGKILL)
        started = time.monotonic()
        while time.monotonic() - started < READY_S:
            now = self.workers()
            if len(now) == len(before) and before[0] not in now:
                return time.monotonic() - started
            time.sleep(0.02)
        raise AssertionError(f"the killed worker was not replaced within {READY_S} s")

    def wait_ready(self, *, within_s: float = READY_S) -> float:
        """Wait until events can be stored; return how long it took."""
        started = time.monotonic()
        while time.monotonic() - started < within_s:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return time.monotonic() - started
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, "the server ended by itself"
            time.sleep(0.05)
        raise AssertionError(f"not ready within {within_s} s")


@contextmanager
def running(
    folder: Path, *, workers: int = 1, options: Sequence[str] = (), log: Path | None = None
) -> Iterator[Running]:
    """Run ``lifeloop serve`` on a project until the block ends."""
    with Lifeloop.open(folder) as loop:
        _, text = keys.create(loop.store.kept, name="test", roles=("admin",), at_us=1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "lifeloop", "serve", "-C", str(folder), "--port", str(port)]
    command += ["--workers", str(workers), *options]
    with (log or Path(os.devnull)).open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    made = Running(f"http://127.0.0.1:{port}", text, process)
    try:
        made.wait_ready()
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
