"""One JSON line per request on stderr: no path, no query, no id of a person, no body."""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import msgspec

_LOG = logging.getLogger("lifeloop.serve")


def start(*, level: str = "info") -> None:
    """Write lines to stderr from now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _LOG.handlers = [handler]
    _LOG.propagate = False
    _LOG.setLevel(level.upper())


def stop() -> None:
    """Write nothing from now on."""
    _LOG.handlers = [logging.NullHandler()]
    _LOG.setLevel(logging.CRITICAL)


def request(
    *, method: str, route: str, status: int, seconds: float, request_id: str, key_id: str | None
) -> None:
    """Tell one answered request; ``route`` is the template, never the path itself."""
    level = logging.WARNING if status >= 500 else logging.INFO
    if _LOG.isEnabledFor(level):
        _write(
            level,
            "request",
            method=method,
            route=route,
            status=status,
            ms=round(seconds * 1000, 2),
            request_id=request_id,
            key=key_id,
        )


def failure(error: BaseException, *, request_id: str | None = None) -> None:
    """Tell where an exception came from: its type and its lines of code, not its message.

    A message may quote what a caller sent, and that may be about a person.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{f.filename.rpartition('/')[2]}:{f.lineno} {f.name}" for f in frames[-6:]]
    _write(logging.ERROR, "failure", error=type(error).__name__, where=where, request_id=request_id)


def note(what: str, **facts: Any) -> None:
    """Tell something about the process: started, swapped, replayed, stopped."""
    _write(logging.INFO, what, **facts)


def _write(level: int, what: str, **facts: Any) -> None:
    line = {
        "at": datetime.now(tz=UTC).isoformat(timespec="milliseconds"),
        "level": logging.getLevelName(level).lower(),
        "what": what,
        **{name: value for name, value in facts.items() if value is not None},
    }
    _LOG.log(level, "%s", msgspec.json.encode(line).decode())
