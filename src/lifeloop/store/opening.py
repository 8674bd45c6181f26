"""From a URL to an open store."""

from pathlib import Path
from typing import TYPE_CHECKING

from lifeloop.errors import StoreError

if TYPE_CHECKING:
    from lifeloop.store.sql_store import SqlStore

_SQLITE = "sqlite:///"


def open_store(url: str) -> "SqlStore":
    """Open the system of record, made and migrated as needed.

    Parameters
    ----------
    url : str
        ``sqlite:///relative/path.db`` or ``sqlite:////absolute/path.db``. The path is taken
        as it stands: spaces, ``?``, ``#`` and any script are fine.

    Returns
    -------
    SqlStore
        A ``lifeloop.contracts.Store``.

    Raises
    ------
    SchemaTooNew
        If a newer lifeloop wrote the database.
    StoreError
        If the URL names no database that lifeloop knows, or it cannot be opened.
    """
    if url.startswith(("postgresql://", "postgresql+psycopg://", "postgres://")):
        raise StoreError(
            "PostgreSQL is not supported yet; it comes with the next part of lifeloop",
            got=url.split("://")[0] + "://…",  # never the password
            allowed="sqlite:///path.db",
            hint="use a SQLite file until then",
        )
    if not url.startswith(_SQLITE) or not url.removeprefix(_SQLITE):
        raise StoreError(
            "the database URL names no file",
            got=url.split("@")[-1],
            allowed="sqlite:///relative.db or sqlite:////absolute.db",
            hint="correct the URL",
        )
    # Heavy imports wait until a store is really opened.
    from lifeloop.store.migrate import migrate
    from lifeloop.store.sql_store import SqlStore
    from lifeloop.store.sqlite import open_backend

    backend = open_backend(Path(url.removeprefix(_SQLITE)))
    try:
        migrate(backend)
    except BaseException:
        backend.close()
        raise
    return SqlStore(backend)
