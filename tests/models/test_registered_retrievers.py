"""Every registered retriever keeps the contract of its kind."""

from dataclasses import replace

import pytest

from lifeloop.config import Models
from lifeloop.contracts import Retriever
from lifeloop.models import NAMES, build
from lifeloop.models.rank.ranked import Ranked
from lifeloop.models.registry import NEURAL, RANKED
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
    """Few people, so the ranker is asked to serve whatever it is worth.

    One tree is left out: items of a leaf tie, so alone it finds a colour and no item of it.
    """

    @pytest.fixture(params=[name for name in RANKED if name != "ranked_tree"])
    def retriever(self, request: pytest.FixtureRequest) -> Retriever:
        (found,) = build([request.param], Models(), horizon="last")
        assert isinstance(found, Ranked)
        return replace(found, least_people=20, margin=-1.0)
