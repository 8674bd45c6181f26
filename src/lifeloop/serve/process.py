"""The processes: granian in front, one application per worker."""

import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec
from fastapi import FastAPI
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server import Server

from lifeloop.errors import LifeloopError, NoModel, SchemaTooNew, StoreError
from lifeloop.loop import Lifeloop
from lifeloop.serve import keys, logs, signin
from lifeloop.serve.app import create_app
from lifeloop.serve.jobs import OWN
from lifeloop.serve.metrics import FOLDER
from lifeloop.serve.settings import ServeSettings
from lifeloop.serve.tracing import tracing

VARIABLE = "LIFELOOP_SERVE"
LIBRARIES = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}
"""What workers tell their libraries, unless it is told already: there is a worker per core, so
that threads of BLAS would wait for each other; and many arenas of the allocator only hold on to
memory. A training is not told so (``jobs``)."""
SWITCH_S = 0.001
"""How long a thread may keep the interpreter while another waits for it. At Python's own 5 ms each
request in flight waits twice that long, to be read and to be answered, while slates are made."""
_DRAIN_S = 30
_STORE_S, _AGAIN_S = 600.0, 1.0


def run(
    where: str | Path,
    *,
    host: str,
    port: int,
    workers: int,
    settings: ServeSettings,
    log_level: str = "info",
) -> None:
    """Serve a project until SIGTERM or SIGINT; requests in flight are answered first.

    Parameters
    ----------
    where : str or Path
        As for ``Lifeloop.open``.
    workers : int
        Processes; each opens the store for itself and shares nothing else.
    """
    told: dict[str, Any] = {
        "where": str(where),
        "settings": settings.model_dump(mode="json"),
        "log_level": log_level,
    }
    os.environ[VARIABLE] = msgspec.json.encode(told).decode()
    ours = {name: value for name, value in LIBRARIES.items() if name not in os.environ}
    os.environ |= {**ours, OWN: " ".join(ours)}
    # Not a fork: it would copy this process's threads, locks and libraries half alive.
    multiprocessing.set_start_method("spawn", force=True)
    counters = tempfile.mkdtemp(prefix="lifeloop-metrics-")
    os.environ[FOLDER] = counters
    try:
        Server(
            "lifeloop.serve.process:make_app",
            address=host,
            port=port,
            interface=Interfaces.ASGI,
            factory=True,
            workers=workers,
            websockets=False,
            http1_settings=HTTP1Settings(header_read_timeout=10_000),
            log_enabled=False,
            respawn_failed_workers=True,
            respawn_interval=0.5,
            workers_kill_timeout=_DRAIN_S,
        ).serve()
    finally:
        shutil.rmtree(counters, ignore_errors=True)


def make_app() -> FastAPI:
    """Return the application of one worker, which opens and closes the project itself."""
    told = msgspec.json.decode(os.environ[VARIABLE])
    logs.start(level=told["log_level"])
    sys.setswitchinterval(SWITCH_S)
    loop = _opened(told["where"])
    settings = ServeSettings(**told["settings"])
    app = create_app(loop, settings=settings, where=told["where"], spans=tracing())
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(served: FastAPI) -> AsyncIterator[None]:
        async with inner(served):
            await anyio.to_thread.run_sync(_open_model, loop)
            gc.collect()
            gc.freeze()  # what was loaded stays: do not look through it again and again
            yield
        loop.close()

    app.router.lifespan_context = lifespan
    return app


def _opened(where: str) -> Lifeloop:
    """Open the project; wait for a store that is not there yet: a worker that ends is not one."""
    until = time.monotonic() + _STORE_S
    while True:
        try:
            return Lifeloop.open(where)
        except SchemaTooNew:
            raise
        except StoreError as error:
            if time.monotonic() >= until:
                raise
            logs.failure(error)
            time.sleep(_AGAIN_S)


def _open_model(loop: Lifeloop) -> None:
    """Open the active bundle now, and not while the first request waits for its answer."""
    try:
        loop.live.current(loop.store, loop.store.head())
    except NoModel:
        pass
    except LifeloopError as error:  # requests say what follows from that
        logs.failure(error)


def first_account(loop: Lifeloop, *, at_us: int) -> tuple[str, str] | None:
    """Make the first account of a dashboard that has none: its name, its password."""
    with loop.store.exclusive("first-account", wait_s=10.0):
        if signin.accounts(loop.store.kept):
            return None
        return "admin", signin.create_account(loop.store.kept, "admin", at_us=at_us)


def first_key(loop: Lifeloop, *, at_us: int) -> str | None:
    """Make the first key of a project that has none; it can be shown only now."""
    with loop.store.exclusive("first-key", wait_s=10.0):
        if keys.listed(loop.store.kept):
            return None
        _, text = keys.create(loop.store.kept, name="first run", roles=("admin",), at_us=at_us)
        return text
