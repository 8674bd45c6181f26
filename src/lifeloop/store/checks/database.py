"""The database as a database: its schema, its pages, its indexes."""

from collections.abc import Iterator

import sqlalchemy as sa

from lifeloop.contracts import Finding
from lifeloop.errors import StoreError
from lifeloop.store.backend import Backend
from lifeloop.store.migrate import newest_version, version_of
from lifeloop.store.tables import metadata

_SHOWN = 5
_REBUILD = "lifeloop restore the newest sound backup into a new folder or database"


def version(backend: Backend) -> Iterator[Finding]:
    """Say whether the schema is the one that this lifeloop writes."""
    with backend.read() as con:
        held = version_of(con)
    newest = newest_version()
    if held == newest:
        yield Finding("migration", "ok", f"schema {held}, the newest")
    elif held is None:
        yield Finding(
            "migration",
            "failure",
            "the database holds no tables of lifeloop",
            next="check the URL; an import makes what is missing",
        )
    elif held > newest:
        yield Finding(
            "migration",
            "failure",
            f"schema {held}, written by a newer lifeloop; this one knows up to {newest}",
            next="install the newer lifeloop",
        )
    else:
        yield Finding(
            "migration",
            "warning",
            f"schema {held} of {newest}; the rest is looked at once it is migrated",
            next="any command that opens the project migrates it: lifeloop status",
        )


def integrity(backend: Backend, *, quick: bool) -> Iterator[Finding]:
    """Read the database and let it check its own pages and indexes."""
    with backend.read() as con:
        postgres = con.dialect.name == "postgresql"
        try:
            faults = _of_postgres(con, quick=quick) if postgres else _of_sqlite(con, quick=quick)
        except sa.exc.DBAPIError as error:
            faults = [str(error.orig).strip()]
        except StoreError as error:
            faults = [error.what]
    if faults:
        yield Finding(
            "integrity",
            "failure",
            "the database is damaged",
            count=len(faults),
            examples=tuple(faults[:_SHOWN]),
            next=f"copy the files away, then {_REBUILD}",
        )
        return
    yield Finding("integrity", "ok", "pages and indexes are sound" + (" (quick)" * quick))


def _of_sqlite(con: sa.Connection, *, quick: bool) -> list[str]:
    pragma = "quick_check" if quick else "integrity_check"
    told = [str(row[0]) for row in con.exec_driver_sql(f"PRAGMA {pragma}(20)")]
    return [] if told == ["ok"] else told


def _of_postgres(con: sa.Connection, *, quick: bool) -> list[str]:
    """Ask for invalid indexes and failed checksums, read every row, check B-trees where allowed."""
    faults = [
        f"the index {name} is marked invalid (REINDEX INDEX {name})"
        for name in con.exec_driver_sql(
            "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE NOT (i.indisvalid AND i.indisready) "
            "AND c.relnamespace = current_schema()::regnamespace"
        ).scalars()
    ]
    failed = con.exec_driver_sql(
        "SELECT coalesce(checksum_failures, 0) FROM pg_stat_database "
        "WHERE datname = current_database()"
    ).scalar()
    if failed:
        faults.append(f"{failed} pages failed their checksum")
    if quick:
        return faults
    for table in metadata.sorted_tables:
        try:
            with con.begin_nested():
                # every column as text, so that also what lies beside the table (TOAST) is read
                con.exec_driver_sql(f'SELECT sum(length(t::text)) FROM "{table.name}" t').scalar()
        except sa.exc.DBAPIError as error:
            faults.append(f"{table.name} cannot be read: {str(error.orig).strip()}")
    there = con.exec_driver_sql("SELECT 1 FROM pg_extension WHERE extname = 'amcheck'").first()
    for name in _index_names(con) if there else ():
        try:
            with con.begin_nested():
                con.exec_driver_sql("SELECT bt_index_check(%s::regclass, true)", (f'"{name}"',))
        except sa.exc.DBAPIError as error:
            faults.append(f"the index {name}: {str(error.orig).strip()}")
    return faults


def indexes(backend: Backend) -> Iterator[Finding]:
    """Say which indexes of the schema are missing."""
    with backend.read() as con:
        held = set(_index_names(con))
    wanted = {str(index.name) for table in metadata.sorted_tables for index in table.indexes}
    missing = sorted(wanted - held)
    if missing:
        yield Finding(
            "indexes",
            "failure",
            "indexes of the schema are missing: reads are slow, and equal ids may come twice",
            count=len(missing),
            examples=tuple(missing),
            next=f"somebody dropped them; {_REBUILD}, which makes them anew",
        )
        return
    yield Finding("indexes", "ok", f"all {len(wanted)} indexes are there", count=len(wanted))


def _index_names(con: sa.Connection) -> list[str]:
    if con.dialect.name == "postgresql":
        sql = "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()"
    else:
        sql = "SELECT name FROM sqlite_master WHERE type = 'index'"
    return [str(name) for name in con.exec_driver_sql(sql).scalars()]
