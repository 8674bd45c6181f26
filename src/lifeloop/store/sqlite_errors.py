"""What SQLite raises, as errors that say what happened and what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from lifeloop.errors import StoreError, StoreFull

BUSY_S = 30.0
"""How long a writer waits for another process before it gives up."""

_NO_SPACE = {  # SQLite's result codes of a write that found no room (ENOSPC, EFBIG, EDQUOT)
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMOPEN,
}


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into an error that says what happened and what to do."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _translated(error.orig, path) from error
    except sqlite3.Error as error:
        raise _translated(error, path) from error


def _translated(error: object, path: Path) -> StoreError:
    code = getattr(error, "sqlite_errorcode", None) or 0
    where = str(path)
    if _no_space(error):
        return StoreFull(
            "the disk of the database is full; nothing of this call was stored",
            got=where,
            hint="free space (or raise the file-size limit), then repeat the call",
        )
    if code & 0xFF == sqlite3.SQLITE_BUSY:
        return StoreError(
            f"another process held the database for more than {BUSY_S:g} s",
            got=where,
            hint="repeat the call, and look for a writer that hangs",
        )
    if code & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StoreError(
            f"the file is not a sound SQLite database ({error})",
            got=where,
            hint="restore it from a backup, or name another file",
        )
    if code & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StoreError(
            f"the database file cannot be opened for writing ({error})",
            got=where,
            hint="check the permissions of the file and of its folder",
        )
    return StoreError(f"SQLite failed: {error}", got=where)


def _no_space(error: object) -> bool:
    return getattr(error, "sqlite_errorcode", None) in _NO_SPACE
