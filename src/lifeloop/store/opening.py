"""From a URL to an open store."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lifeloop.errors import MissingExtra, StoreError

if TYPE_CHECKING:
    from lifeloop.store.backend import Backend
    from lifeloop.store.sql_store import SqlStore

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")
_DRIVERS = ("psycopg", "adbc_driver_postgresql")


def open_store(url: str, *, keys: Path | None = None, migrated: bool = True) -> "SqlStore":
    """Open the system of record, made and migrated as needed.

    Parameters
    ----------
    url : str
        ``sqlite:///relative/path.db`` or ``sqlite:////absolute/path.db``. The path is taken
        as it stands: spaces, ``?``, ``#`` and any script are fine.
        ``postgresql://user:password@host:port/database?schema=name`` with any option of libpq;
        without ``schema`` the tables go where the server puts this user's. Needs the extra
        ``postgres``.
    keys : Path, optional
        Folder of the key of the erasures (``secret.py``); by default that of the SQLite file,
        or the current one.
    migrated : bool
        False leaves the schema as it is, for those who only look (``lifeloop doctor``).

    Returns
    -------
    SqlStore
        A ``lifeloop.contracts.Store``.

    Raises
    ------
    SchemaTooNew
        If a newer lifeloop wrote the database.
    MissingExtra
        If PostgreSQL is asked for and its drivers are not installed.
    StoreError
        If the URL names no database that lifeloop knows, or it cannot be opened.
    """
    if url.split("://")[0] in _POSTGRES:
        return _opened(_postgres(url), keys, migrated)
    if not url.startswith(_SQLITE) or not url.removeprefix(_SQLITE):
        raise StoreError(
            "the database URL names no file",
            got=url.split("@")[-1],
            allowed="sqlite:///relative.db, sqlite:////absolute.db or postgresql://…",
            hint="correct the URL",
        )
    from lifeloop.store.sqlite import open_backend

    return _opened(open_backend(Path(url.removeprefix(_SQLITE))), keys, migrated)


# Heavy imports wait until a store is really opened.


def _opened(backend: "Backend", keys: Path | None, migrated: bool) -> "SqlStore":
    from lifeloop.store.migrate import migrate
    from lifeloop.store.secret import Secret
    from lifeloop.store.sql_store import SqlStore

    if keys is not None:
        backend.secret = Secret(keys)
    try:
        if migrated:
            migrate(backend)
    except BaseException:
        backend.close()
        raise
    return SqlStore(backend)


def _postgres(url: str) -> "Backend":
    if any(find_spec(name) is None for name in _DRIVERS):
        raise MissingExtra("PostgreSQL", "postgres")
    try:
        from lifeloop.store.postgres import open_backend
    except ImportError as error:  # psycopg is there, and the library under it is not
        raise MissingExtra("PostgreSQL", "postgres") from error
    return open_backend(url)
