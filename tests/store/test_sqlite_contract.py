"""SQLite keeps the contract of a store."""

from pathlib import Path

import pytest

from lifeloop.testing.store_suite import StoreContract


class TestSqlite(StoreContract):
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        folder = tmp_path / "with space ?q=1#用户%20"
        folder.mkdir()
        return f"sqlite:///{folder / 'store.db'}"
