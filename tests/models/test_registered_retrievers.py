"""Every registered retriever keeps the contract of its kind."""

import pytest

from lifeloop.config import Models
from lifeloop.contracts import Retriever
from lifeloop.models import NAMES, build
from lifeloop.testing.retriever_suite import RetrieverContract


class TestRegistered(RetrieverContract):
    @pytest.fixture(params=NAMES)
    def retriever(self, request: pytest.FixtureRequest) -> Retriever:
        return build([request.param], Models())[0]


class TestBlendOfLastEvents(RetrieverContract):
    @pytest.fixture
    def retriever(self) -> Retriever:
        return build(["lifeloop"], Models(), horizon="last")[0]
