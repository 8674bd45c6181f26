"""One process at a time: a named lock that ends with its holder, however that one ends."""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from lifeloop.store.backend import Backend

_AGAIN_S = 0.02
_TRY = sa.text(
    "SELECT pg_try_advisory_xact_lock("
    "hashtextextended('lifeloop ' || current_schema() || ' ' || :name, 1))"
)


@contextmanager
def exclusive(backend: Backend, name: str, *, wait_s: float) -> Iterator[bool]:
    """Hold the lock ``name`` of this store; yield False where another holds it.

    PostgreSQL's advisory lock, or ``flock`` on a file beside the SQLite database: both are
    given back by the system when the holder dies.
    """
    until = time.monotonic() + wait_s
    path = getattr(backend, "path", None)
    if path is not None:
        with Path(f"{path}.{name}.lock").open("ab") as file:
            yield _tried(lambda: _flocked(file.fileno()), until)
        return
    with backend.read() as con:  # a read may lock by name, and sees nothing that it would need
        yield _tried(lambda: bool(con.execute(_TRY, {"name": name}).scalar()), until)


def _tried(attempt: Callable[[], bool], until: float) -> bool:
    while not attempt():
        if time.monotonic() >= until:
            return False
        time.sleep(_AGAIN_S)
    return True


def _flocked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
