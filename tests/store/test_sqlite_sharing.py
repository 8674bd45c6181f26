"""SQLite keeps what a service shares."""

from pathlib import Path

import pytest

from lifeloop.testing.sharing_suite import SharingContract


class TestSqliteSharing(SharingContract):
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'store.db'}"
