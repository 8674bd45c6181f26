"""SQLite keeps the contract of a store."""

from itertools import count
from pathlib import Path

import pytest

from lifeloop.store.sqlite import SqliteBackend
from lifeloop.testing.store_suite import StoreContract
from lifeloop.testing.store_suite_backup import BackupContract, NewUrl
from lifeloop.testing.store_suite_changes import ChangesContract
from lifeloop.testing.store_suite_doctor import DoctorContract
from lifeloop.testing.store_suite_lake import LakeContract
from lifeloop.testing.store_suite_people import PeopleContract
from lifeloop.testing.store_suite_profiles import ProfileContract
from lifeloop.testing.store_suite_retention import RetentionContract


class TestSqlite(StoreContract):
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        folder = tmp_path / "with space ?q=1#用户%20"
        folder.mkdir()
        return f"sqlite:///{folder / 'store.db'}"


class TestSqlitePeople(PeopleContract):
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'store.db'}"


class TestSqliteProfiles(ProfileContract):
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'store.db'}"


class TestSqliteProfilesInOneStatement(TestSqliteProfiles):
    """What a server is asked, asked of SQLite: the pieces and the whole say the same."""

    @pytest.fixture(autouse=True)
    def as_a_server_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(SqliteBackend, "remote", True)


class TestSqliteLake(LakeContract):
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'store.db'}"


class TestSqliteBackup(BackupContract):
    @pytest.fixture
    def new_url(self, tmp_path: Path) -> NewUrl:
        numbers = count()
        return lambda: f"sqlite:///{tmp_path / f'store{next(numbers)}.db'}"


class TestSqliteDoctor(DoctorContract):
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'store.db'}"


class TestSqliteRetention(RetentionContract):
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'store.db'}"


class TestSqliteChanges(ChangesContract):
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'store.db'}"
