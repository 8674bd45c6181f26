"""Numbered migrations, run when a store is opened: nothing to do costs one query."""

from pathlib import Path

import sqlalchemy as sa

from lifeloop.errors import SchemaTooNew, StoreError
from lifeloop.store.backend import Backend

FOLDER = Path(__file__).parent / "migrations"


def migrate(backend: Backend) -> None:
    """Bring the database to the newest schema.

    Raises
    ------
    SchemaTooNew
        If a newer lifeloop wrote the database.
    StoreError
        If the database holds tables of another program.
    """
    with backend.read() as con:
        if _version(con) == newest_version():
            return
    with backend.write() as con:  # asked again under the lock: another process may be faster
        held = _version(con)
        if held == newest_version():
            return
        if held is not None and held > newest_version():
            raise SchemaTooNew(
                "the database was written by a newer lifeloop",
                got=f"schema {held} in {backend.url}",
                allowed=f"schema up to {newest_version()}",
                hint="install the newer lifeloop, or open another database",
            )
        if held is None and (tables := sa.inspect(con).get_table_names()):
            raise StoreError(
                "the database is not one of lifeloop",
                got=f"{backend.url} with tables {', '.join(sorted(tables)[:5])}",
                hint="name another file",
            )
        _upgrade(con)


def newest_version() -> str:
    """Return the number of the newest migration that ships, e.g. ``0001``."""
    return max(path.name[:4] for path in (FOLDER / "versions").glob("[0-9]*.py"))


def _version(con: sa.Connection) -> str | None:
    try:
        held = con.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except sa.exc.OperationalError:  # no such table
        return None
    return None if held is None else str(held)


def _upgrade(con: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = con
    command.upgrade(config, "head")
