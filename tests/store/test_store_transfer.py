"""A whole store is moved from SQLite and from PostgreSQL, into either."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from lifeloop.testing.postgres import own_schema, postgres_server
from lifeloop.testing.store_suite_backup import NewUrl
from lifeloop.testing.store_suite_transfer import TransferContract


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


class TestSqliteTransfer(TransferContract):
    @pytest.fixture
    def new_url(self, tmp_path: Path) -> NewUrl:
        numbers = count()
        return lambda: f"sqlite:///{tmp_path / f'store{next(numbers)}.db'}"


@pytest.mark.extras
class TestPostgresTransfer(TransferContract):
    @pytest.fixture
    def new_url(self, server: str) -> Iterator[NewUrl]:
        with ExitStack() as schemas:
            yield lambda: schemas.enter_context(own_schema(server))
