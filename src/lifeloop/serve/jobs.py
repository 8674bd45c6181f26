"""Training in the background: once per deployment, its progress visible from every process.

The work is done by a process of its own (``lifeloop.serve.trainer``), so that requests do not
wait for it. It holds the lock ``train`` of the store, which ends with it, and tells where it is
in the shared record of the job. Its signs of life are told by the machine's own clock, which both
processes see, whatever clock the loop was given.
"""

import os
import subprocess
import sys
import threading
import time
import uuid
from typing import Any

import msgspec

from lifeloop.errors import StoreError, UnknownId
from lifeloop.loop import Lifeloop, now_us
from lifeloop.serve.problems import Problem

KIND = "job"
LOCK = "train"
RUNNING = ("starting", "running")
_SILENT_BEATS = 15
OWN = "LIFELOOP_SERVE_OWN"
"""Variable that names those which the service set for its workers, and not for a training."""


class Jobs:
    """The training jobs of one deployment, as one process sees them."""

    def __init__(self, loop: Lifeloop, *, where: str | None, heartbeat_s: float) -> None:
        self._loop = loop
        self._where = where
        self._beat_s = heartbeat_s
        self._children: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def start(self) -> dict[str, Any]:
        """Begin to train and return the job.

        Raises
        ------
        Problem
            409 where one is running already, with its id.
        """
        kept = self._loop.store.kept
        with self._loop.store.exclusive("train-start", wait_s=10.0):
            running = next((j for j in self.listed() if j["state"] in RUNNING), None)
            if running is not None:
                raise Problem(
                    409,
                    "a training is running already",
                    hint=f"follow it at /v1/train/{running['job']}/events",
                    error="already-running",
                    job=running["job"],
                )
            job = uuid.uuid4().hex
            body = {"job": job, "state": "starting", "started_us": now_us(), "beat_us": now_us()}
            kept.put(KIND, job, body, at_us=now_us())
        self._spawn(job)
        return body

    def listed(self) -> list[dict[str, Any]]:
        """Return every job, newest first; one that fell silent is ``lost``."""
        return [self._judged(body) for body in self._loop.store.kept.every(KIND).values()][::-1]

    def get(self, job: str) -> dict[str, Any]:
        """Return one job. Raises ``UnknownId``."""
        body = self._loop.store.kept.get(KIND, job)
        if body is None:
            raise UnknownId("there is no such job", got=job, hint="GET /v1/train lists them")
        return self._judged(body)

    def close(self) -> None:
        """Wait for nobody: a training goes on by itself when this process stops."""
        with self._lock:
            self._children = [child for child in self._children if child.poll() is None]

    def _judged(self, body: dict[str, Any]) -> dict[str, Any]:
        silent_s = (now_us() - int(body["beat_us"])) / 1e6
        if body["state"] in RUNNING and silent_s > _SILENT_BEATS * self._beat_s:
            return {**body, "state": "lost", "error": "its process ended without a word"}
        return body

    def _spawn(self, job: str) -> None:
        told = {
            "where": self._where or str(self._loop.home),
            "scenario": self._loop.scenario.model_dump(mode="json"),
            "job": job,
            "beat_s": self._beat_s,
        }
        child = subprocess.Popen(
            [sys.executable, "-m", "lifeloop.serve.trainer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={k: v for k, v in os.environ.items() if k not in os.environ.get(OWN, "").split()},
            start_new_session=True,  # a stopped server does not stop a training
        )
        if child.stdin is not None:
            child.stdin.write(msgspec.json.encode(told))
            child.stdin.close()
        with self._lock:
            self._children = [c for c in self._children if c.poll() is None] + [child]


class Told:
    """Writes the progress of one job into the store, at most once per beat."""

    def __init__(self, loop: Lifeloop, job: str, *, beat_s: float) -> None:
        self._loop = loop
        self._body = dict(loop.store.kept.get(KIND, job) or {"job": job, "started_us": now_us()})
        self._beat_s = beat_s
        self._last = 0.0
        self._lock = threading.Lock()

    def progress(self, step: str, done: float, total: float | None) -> None:
        """Take a step of ``learn.train``."""
        with self._lock:
            self._body |= {"state": "running", "step": step, "done": done, "total": total}
            self._write(force=self._body.get("told") != step)
            self._body["told"] = step

    def beat(self) -> None:
        """Say that the job lives."""
        with self._lock:
            self._write(force=False)

    def end(self, state: str, **facts: Any) -> None:
        """Say how it ended."""
        with self._lock:
            self._body |= {"state": state, "ended_us": now_us(), **facts}
            self._write(force=True)

    def _write(self, *, force: bool) -> None:
        if not force and time.monotonic() - self._last < self._beat_s:
            return
        self._last = time.monotonic()
        body = {**self._body, "beat_us": now_us()}
        body.pop("told", None)
        try:
            self._loop.store.kept.put(KIND, str(body["job"]), body, at_us=int(body["started_us"]))
        except StoreError:
            if force and body["state"] not in RUNNING:
                raise
