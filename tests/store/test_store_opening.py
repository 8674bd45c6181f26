"""From a URL to a store, or to words that say what is wrong with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lifeloop.contracts import Store
from lifeloop.errors import MissingExtra, StoreError
from lifeloop.store import open_store, opening
from lifeloop.testing.store_suite import NOW, VIEW, event_rows


def test_the_open_store_is_a_store_and_knows_its_url(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    store = open_store(url)
    assert isinstance(store, Store)
    assert store.url == url
    store.close()


def test_a_relative_path_is_relative_to_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_store("sqlite:///s.db").close()
    assert (tmp_path / "s.db").is_file()


@pytest.mark.parametrize("absent", ["psycopg", "adbc_driver_postgresql"])
def test_without_its_drivers_postgresql_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda name: None if name == absent else name)
    with pytest.raises(MissingExtra, match=r"lifeloop\[postgres\]") as caught:
        open_store("postgresql://me:secret@host/db")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://me:secret@host/db", "names no file"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("/tmp/plain/path.db", "names no file"),
        ("sqlite:////no/such/folder/s.db", "folder of the database does not exist"),
    ],
)
def test_a_url_that_opens_nothing_says_why_and_tells_no_secret(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_a_folder_is_not_a_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a folder"):
        open_store(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize(
    "content", [b"not a database at all, " * 100, b"SQLite format 3\0junk" * 99]
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="not a sound SQLite database"):
        open_store(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_a_store_opened_before_a_fork_refuses_to_work_in_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.db'}")
    mine = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: mine + 1)
    with pytest.raises(StoreError, match="before a fork"):
        store.last_seq()
    with pytest.raises(StoreError, match="before a fork"):
        store.append(event_rows(VIEW), received_us=NOW)
    monkeypatch.undo()
    store.close()


def test_importing_the_store_loads_no_database_library() -> None:
    heavy = ("sqlalchemy", "psycopg", "alembic", "adbc_driver_sqlite", "pyarrow", "sqlite3")
    code = f"import sys, lifeloop.store; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
