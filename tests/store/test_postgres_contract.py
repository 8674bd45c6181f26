"""PostgreSQL keeps the contract of a store, on a real server."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lifeloop.testing.postgres import own_schema, postgres_server
from lifeloop.testing.sharing_suite import SharingContract
from lifeloop.testing.store_suite import StoreContract
from lifeloop.testing.store_suite_backup import BackupContract, NewUrl
from lifeloop.testing.store_suite_changes import ChangesContract
from lifeloop.testing.store_suite_doctor import DoctorContract
from lifeloop.testing.store_suite_lake import LakeContract
from lifeloop.testing.store_suite_people import PeopleContract
from lifeloop.testing.store_suite_profiles import ProfileContract
from lifeloop.testing.store_suite_retention import RetentionContract

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


class TestPostgres(StoreContract):
    @pytest.fixture
    def store_url(self, server: str) -> Iterator[str]:
        with own_schema(server) as url:
            yield url


class TestPostgresPeople(PeopleContract):
    @pytest.fixture
    def store_url(self, server: str) -> Iterator[str]:
        with own_schema(server) as url:
            yield url


class TestPostgresProfiles(ProfileContract):
    @pytest.fixture
    def store_url(self, server: str) -> Iterator[str]:
        with own_schema(server) as url:
            yield url


class TestPostgresSharing(SharingContract):
    @pytest.fixture
    def store_url(self, server: str) -> Iterator[str]:
        with own_schema(server) as url:
            yield url


class TestPostgresLake(LakeContract):
    @pytest.fixture
    def store_url(self, server: str) -> Iterator[str]:
        with own_schema(server) as url:
            yield url


class TestPostgresBackup(BackupContract):
    @pytest.fixture
    def new_url(self, server: str) -> Iterator[NewUrl]:
        with ExitStack() as schemas:
            yield lambda: schemas.enter_context(own_schema(server))


class TestPostgresDoctor(DoctorContract):
    @pytest.fixture
    def store_url(self, server: str) -> Iterator[str]:
        with own_schema(server) as url:
            yield url


class TestPostgresRetention(RetentionContract):
    @pytest.fixture
    def store_url(self, server: str) -> Iterator[str]:
        with own_schema(server) as url:
            yield url


class TestPostgresChanges(ChangesContract):
    @pytest.fixture
    def store_url(self, server: str) -> Iterator[str]:
        with own_schema(server) as url:
            yield url
