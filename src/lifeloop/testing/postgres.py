"""A PostgreSQL server for tests, and a schema of its own for each of them.

The server is the one that ``LIFELOOP_TEST_POSTGRES`` names, else one on this machine that lets
us in, else one that is started from installed binaries in a temporary folder. Where there is
none, the tests skip and say so.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lifeloop.errors import StoreError

VARIABLE = "LIFELOOP_TEST_POSTGRES"
_LOCAL = (
    "postgresql://root@127.0.0.1:5432/test",
    "postgresql://postgres@127.0.0.1:5432/test",
)


@contextmanager
def postgres_server() -> Iterator[str]:
    """Yield the URL of a database whose schemas tests may make and drop; else skip."""
    if find_spec("psycopg") is None or find_spec("adbc_driver_postgresql") is None:
        pytest.skip("no PostgreSQL driver: pip install 'lifeloop[postgres]'")
    if named := os.environ.get(VARIABLE):
        yield named  # a server that was named and is not there fails its tests: never a skip
        return
    for url in _LOCAL:
        if _answers(url):
            yield url
            return
    with started_server() as server:
        yield server.url


@contextmanager
def own_schema(server: str) -> Iterator[str]:
    """Yield a URL on ``server`` with an empty schema of its own, dropped afterwards."""
    from lifeloop.store.postgres import open_backend

    name = f"lifeloop_test_{uuid.uuid4().hex[:12]}"
    url = f"{server}{'&' if '?' in server else '?'}schema={name}"
    try:
        yield url
    finally:
        backend = open_backend(url)
        with backend.write() as con:
            con.exec_driver_sql(f'DROP SCHEMA "{name}" CASCADE')
        backend.close()


class StartedServer:
    """A server of our own, which a test may stop and start again."""

    def __init__(self, binaries: Path, folder: Path, *, settings: Sequence[str]) -> None:
        port = _free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        self._control = [str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-w", "-t", "60"]
        chosen = ("listen_addresses=127.0.0.1", f"port={port}", *settings)
        self._options = " ".join(f"-c {setting}" for setting in chosen) + f" -k '{folder}'"
        self._running = folder / "data" / "postmaster.pid"
        self.log = str(folder / "log")

    def start(self) -> None:
        _run([*self._control, "-l", self.log, "-o", self._options, "start"])

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; ``immediate`` is a crash, ``fast`` ends every connection in order."""
        if self._running.exists():
            _run([*self._control, "-m", mode, "stop"])


@contextmanager
def started_server(*settings: str) -> Iterator[StartedServer]:
    """Start a server from installed binaries in a temporary folder; else skip.

    ``settings`` are its own, as ``name=value``.
    """
    binaries = _binaries()
    if binaries is None:
        pytest.skip(
            f"no PostgreSQL: {VARIABLE} is not set, 127.0.0.1:5432 lets nobody in, "
            "and initdb is not installed"
        )
    with tempfile.TemporaryDirectory(prefix="lifeloop-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if os.geteuid() == 0:
            try:
                shutil.chown(folder, "postgres")
            except LookupError:
                pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        data = str(folder / "data")
        make = [str(binaries / "initdb"), "-D", data, "-U", "postgres", "-A", "trust"]
        _run([*make, "-E", "UTF8", "--no-locale", "--no-sync"])
        server = StartedServer(binaries, folder, settings=settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _run(command: list[str]) -> None:
    who: dict[str, Any] = {"user": "postgres", "cwd": "/"} if os.geteuid() == 0 else {}
    # To a file, not a pipe: the server that pg_ctl leaves running would keep a pipe open.
    with tempfile.TemporaryFile() as out:
        done = subprocess.run(command, stdout=out, stderr=out, check=False, **who)
        out.seek(0)
        assert done.returncode == 0, f"{command[0]}: {out.read().decode(errors='replace')}"


def _answers(url: str) -> bool:
    from lifeloop.store.postgres import open_backend

    try:
        open_backend(f"{url}?connect_timeout=2").close()
    except StoreError:
        return False
    return True


def _binaries() -> Path | None:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    found = shutil.which("initdb")
    if found is not None:
        places.append(Path(found).resolve().parent)
    return next((place for place in places if (place / "initdb").exists()), None)


def _version(place: Path) -> float:
    try:
        return float(place.parent.name)
    except ValueError:
        return 0.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
