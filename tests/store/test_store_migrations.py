"""Numbered migrations: what they make is what the code reads, and newer files are left alone."""

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from lifeloop.errors import SchemaTooNew, StoreError
from lifeloop.store import open_store
from lifeloop.store.migrate import FOLDER, newest_version
from lifeloop.store.tables import metadata

DESCRIBED = "SELECT name, sql FROM sqlite_master"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "s.db"
    open_store(f"sqlite:///{path}").close()
    return path


def test_the_migrations_make_exactly_the_tables_of_the_code(path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as con:
        context = MigrationContext.configure(con, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
    assert differences == []
    with engine.connect() as con:  # and what autogenerate does not compare
        made = {row[0]: row[1] for row in con.exec_driver_sql(DESCRIBED)}
    other = sa.create_engine("sqlite://")
    metadata.create_all(other)
    with other.connect() as con:
        wanted = [tuple(row) for row in con.exec_driver_sql(DESCRIBED)]
    words = {name: " ".join((sql or "").split()) for name, sql in made.items()}
    for name, sql in wanted:
        assert words[name] == " ".join((sql or "").split()), name
    engine.dispose()
    other.dispose()


def test_every_migration_has_its_number_and_follows_the_one_before() -> None:
    names = sorted(p.name for p in (FOLDER / "versions").glob("*.py"))
    assert [name[:5] for name in names] == [f"{n:04}_" for n in range(1, len(names) + 1)]
    assert newest_version() == f"{len(names):04}"


def test_a_database_of_a_newer_lifeloop_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as con:
        con.execute("UPDATE alembic_version SET version_num = '9999'")
    con.close()
    with pytest.raises(SchemaTooNew, match=r"9999.*newer lifeloop"):
        open_store(f"sqlite:///{path}")
    with sqlite3.connect(path) as con:
        assert con.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    con.close()


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as con:
        con.execute("CREATE TABLE invoices (id INTEGER)")
    con.close()
    with pytest.raises(StoreError, match=r"not one of lifeloop.*invoices"):
        open_store(f"sqlite:///{path}")
    with sqlite3.connect(path) as con:
        assert con.execute("SELECT name FROM sqlite_master").fetchall() == [("invoices",)]
    con.close()


def test_a_half_made_database_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.touch()  # an empty file is an empty database
    open_store(f"sqlite:///{path}").close()
    store = open_store(f"sqlite:///{path}")
    assert store.last_seq() == 0
    store.close()


def test_opening_a_current_database_is_quick_and_does_not_load_alembic(path: Path) -> None:
    spent = []
    for _ in range(5):
        began = time.perf_counter()
        store = open_store(f"sqlite:///{path}")
        spent.append(time.perf_counter() - began)
        store.close()
    assert min(spent) < 0.030
    code = (
        "import sys; from lifeloop.store import open_store; "
        f"open_store({f'sqlite:///{path}'!r}).close(); print('alembic' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
