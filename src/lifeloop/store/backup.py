"""Backup and restore: every table from one state of the database, in one file for any database.

The rows are read in one read transaction, so writers go on and the copy is of one moment. They are
written as Parquet in a zip, and so a backup of SQLite restores into PostgreSQL and back.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa

from lifeloop.errors import SchemaTooNew, StoreError
from lifeloop.store import clock
from lifeloop.store.backend import Backend
from lifeloop.store.erasing import erase_again
from lifeloop.store.ledger import Ledger
from lifeloop.store.migrate import newest_version
from lifeloop.store.tables import clock as clock_table
from lifeloop.store.tables import kept, metadata
from lifeloop.store.tombstones import marks_held
from lifeloop.store.whole import whole_file

MANIFEST = "backup.json"
_CHUNK = 50_000


def write_backup(backend: Backend, path: Path, *, files: Mapping[str, Path]) -> dict[str, Any]:
    """Write every table, and ``files`` by their name, to ``path``: whole and synced, or not at all.

    Returns
    -------
    dict
        What was written: schema, seq, rows per table, names of the files.
    """
    with backend.read() as con:  # what another machine erased is in the ledger of this one too
        Ledger(backend.secret.folder).add(marks_held(con))
    with whole_file(path, "backup") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as out:
        about = _put_tables(backend, out)
        for name, file in files.items():
            out.write(file, f"project/{name}")
        about["files"] = sorted(files)
        out.writestr(MANIFEST, json.dumps(about, indent=1, sort_keys=True))
    return about


def read_backup(backend: Backend, path: Path) -> dict[str, Any]:
    """Put the rows of a backup into an empty database, all or none; return its description.

    Whoever was erased since, by the ledger beside the key, is erased from the rows in the same
    transaction: ``erased`` says how many people, ``ledger`` whether there was one.

    Raises
    ------
    StoreError
        If the database holds anything, or the file is no sound backup.
    """
    try:
        with zipfile.ZipFile(path) as held:
            about = dict(json.loads(held.read(MANIFEST)))
            if about["schema"] > newest_version():
                raise SchemaTooNew(
                    "the backup was made by a newer lifeloop",
                    got=about["schema"],
                    allowed=f"schema up to {newest_version()}",
                    hint="install the newer lifeloop",
                )
            with backend.write() as con:
                _refuse_full(backend, con)
                con.execute(sa.delete(clock_table))
                for table in metadata.sorted_tables:
                    n = 0
                    for frame in _chunks(held, table.name):
                        backend.insert(con, table, frame)
                        n += frame.height
                    if n != about["rows"].get(table.name, 0):
                        raise StoreError(
                            "the backup lacks rows of a table", got=f"{n} of {table.name}"
                        )
                _numbers_go_on(con)
                # Another history from here on: a lake that followed the former one must know.
                con.execute(sa.delete(kept).where(kept.c.kind == "store"))
                ledger = Ledger(backend.secret.folder).marks()
                about |= {"ledger": bool(ledger), "erased": erase_again(backend, con, ledger)}
    except (zipfile.BadZipFile, KeyError, ValueError, pl.exceptions.PolarsError) as error:
        raise StoreError(
            f"the file is no sound backup ({error!r}); nothing was restored",
            got=str(path),
            hint="take another backup",
        ) from error
    if about["erased"]:
        backend.scrub()
    return about


def _put_tables(backend: Backend, out: zipfile.ZipFile) -> dict[str, Any]:
    rows: dict[str, int] = {}
    with backend.read() as con:
        seq = clock.newest(con)
        for table in metadata.sorted_tables:
            kinds = {column.name: _kind(column) for column in table.columns}
            read = con.execution_options(stream_results=True, yield_per=_CHUNK)
            n = 0
            query = sa.select(table).order_by(*table.primary_key.columns)
            with read.execute(query) as result:
                for number, part in enumerate(result.partitions(_CHUNK)):
                    columns = list(zip(*part, strict=True))
                    frame = pl.DataFrame(
                        [
                            pl.Series(name, values, dtype=kind)
                            for (name, kind), values in zip(kinds.items(), columns, strict=True)
                        ]
                    )
                    data = BytesIO()
                    frame.write_parquet(data, compression="zstd")
                    out.writestr(f"tables/{table.name}/{number:06}.parquet", data.getvalue())
                    n += frame.height
            rows[table.name] = n
    return {"schema": newest_version(), "seq": seq, "rows": rows}


def _kind(column: sa.Column[Any]) -> Any:
    kinds: list[tuple[type, Any]] = [
        (sa.Text, pl.String),
        (sa.BigInteger, pl.Int64),
        (sa.Boolean, pl.Boolean),
        (sa.Integer, pl.Int32),
        (sa.Float, pl.Float64),
        (sa.LargeBinary, pl.Binary),
    ]
    return next(kind for sql, kind in kinds if isinstance(column.type, sql))


def _chunks(held: zipfile.ZipFile, table: str) -> Iterator[pl.DataFrame]:
    for name in sorted(held.namelist()):
        if name.startswith(f"tables/{table}/"):
            yield pl.read_parquet(BytesIO(held.read(name)))  # zip checks the CRC of each


def _refuse_full(backend: Backend, con: sa.Connection) -> None:
    for table in metadata.sorted_tables:
        if table is not clock_table and con.execute(sa.select(table).limit(1)).first():
            raise StoreError(
                "a backup is restored into an empty database only",
                got=f"rows of {table.name} in {backend.url}",
                hint="name a new folder or database; the present one is left as it is",
            )


def _numbers_go_on(con: sa.Connection) -> None:
    if con.dialect.name != "postgresql":
        return  # SQLite goes on from the largest id by itself
    for table in metadata.sorted_tables:
        if "id" in table.c and table is not clock_table:
            con.exec_driver_sql(
                f"SELECT setval(pg_get_serial_sequence('\"{table.name}\"', 'id'), max(id)) "
                f'FROM "{table.name}" HAVING max(id) IS NOT NULL'
            )
