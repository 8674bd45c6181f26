"""Every registered retriever keeps the contract of its kind."""

from dataclasses import replace

import pytest

from lifeloop.config import Models
from lifeloop.contracts import Retriever
from lifeloop.models import NAMES, build
from lifeloop.models.rank.ranked import Ranked
from lifeloop.models.registry import NEURAL
from lifeloop.testing.retriever_suite import RetrieverContract


class TestRegistered(RetrieverContract):
    @pytest.fixture(params=[name for name in NAMES if name not in NEURAL])
    def retriever(self, request: pytest.FixtureRequest) -> Retriever:
        return build([request.param], Models())[0]


class TestBlendOfLastEvents(RetrieverContract):
    @pytest.fixture
    def retriever(self) -> Retriever:
        return build(["lifeloop"], Models(), horizon="last")[0]


class TestRankedLastEvents(RetrieverContract):
    """Few people, so the trees are asked to serve whatever they are worth."""

    @pytest.fixture
    def retriever(self) -> Retriever:
        (found,) = build(["ranked"], Models(), horizon="last")
        assert isinstance(found, Ranked)
        return replace(found, least_people=20, margin=-1.0)
