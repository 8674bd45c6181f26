"""The database as a database: its schema, its pages, its indexes."""

from collections.abc import Iterator

import sqlalchemy as sa

from lifeloop.contracts import Finding
from lifeloop.errors import StoreError
from lifeloop.store.backend import Backend
from lifeloop.store.migrate import newest_version, version_of
from lifeloop.store.tables import metadata

_SHOWN = 5
_NOT_ALLOWED = "42501"
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
    place = con.exec_driver_sql(
        "SELECT quote_ident(n.nspname) FROM pg_extension e "
        "JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'"
    ).scalar()  # most often another schema than the one of this store
    return faults if place is None else faults + _by_amcheck(con, str(place))


def _by_amcheck(con: sa.Connection, place: str) -> list[str]:
    """Check every B-tree against its table, and the tuples of every table (PostgreSQL 14 on)."""
    asked = [
        (f"the index {name}", f"SELECT NULL FROM {place}.bt_index_check(%s::regclass, true)", name)
        for name in _index_names(con)
    ]
    if con.exec_driver_sql("SELECT 1 FROM pg_proc WHERE proname = 'verify_heapam'").first():
        shown = "SELECT format('block %%s: %%s', blkno, msg)"
        sql = f"{shown} FROM {place}.verify_heapam(%s::regclass) LIMIT 3"
        asked += [(f"the table {t.name}", sql, t.name) for t in metadata.sorted_tables]
    faults = []
    for what, sql, name in asked:
        try:
            with con.begin_nested():
                told = con.exec_driver_sql(sql, (f'"{name}"',)).scalars().all()
            faults += [f"{what}, {text}" for text in told if text]
        except sa.exc.DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == _NOT_ALLOWED:
                return faults
            faults.append(f"{what}: {str(error.orig).strip()}")
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
