"""Numbered migrations, run when a store is opened: nothing to do costs one query."""

import re
from pathlib import Path

import sqlalchemy as sa

from lifeloop.errors import SchemaTooNew, StoreError
from lifeloop.store.backend import Backend

_OURS = re.compile(r"\d{4}")  # other programs name their migrations otherwise
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
        if version_of(con) == newest_version():
            return
    with backend.write() as con:  # asked again under the lock: another process may be faster
        held = version_of(con)
        if held == newest_version():
            return
        if held is not None and not _OURS.fullmatch(held):
            raise _not_ours(con, backend, f"migrations of its own, at {held}")
        if held is not None and held > newest_version():
            raise SchemaTooNew(
                "the database was written by a newer lifeloop",
                got=f"schema {held} in {backend.url}",
                allowed=f"schema up to {newest_version()}",
                hint="install the newer lifeloop, or open another database",
            )
        if held is None and (tables := sa.inspect(con).get_table_names()):
            raise _not_ours(con, backend, f"tables {', '.join(sorted(tables)[:5])}")
        _upgrade(con)


def newest_version() -> str:
    """Return the number of the newest migration that ships, e.g. ``0001``."""
    return max(path.name[:4] for path in (FOLDER / "versions").glob("[0-9]*.py"))


def version_of(con: sa.Connection) -> str | None:
    """Return the number of the migration that a database stands at, None for an empty one."""
    if con.dialect.name == "postgresql":  # where a failed question would end the transaction
        there = con.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar()
        if there is None:
            return None
    try:
        held = con.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except sa.exc.OperationalError:  # no such table
        return None
    return None if held is None else str(held)


def _not_ours(con: sa.Connection, backend: Backend, holds: str) -> StoreError:
    schema = "add ?schema=lifeloop to the URL, or name another database"
    return StoreError(
        "the database is not one of lifeloop",
        got=f"{backend.url} with {holds}",
        hint=schema if con.dialect.name == "postgresql" else "name another file",
    )


def _upgrade(con: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = con
    command.upgrade(config, "head")
