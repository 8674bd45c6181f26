"""Every registered retriever keeps the contract of its kind."""

from dataclasses import replace

import numpy as np
import pytest

from lifeloop.config import Models
from lifeloop.contracts import Retriever
from lifeloop.models import NAMES, build, queries
from lifeloop.models.rank.ranked import Ranked
from lifeloop.models.registry import NEURAL, RANKED
from lifeloop.testing.checkerboard import checkerboard
from lifeloop.testing.retriever_suite import RetrieverContract, fit

pytestmark = pytest.mark.slow


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

    def test_a_person_unknown_in_training_is_served_from_two_events(
        self, retriever: Retriever, personal: bool
    ) -> None:
        """M1. Learned from last events: what comes next is first; trees learn nothing below it."""
        world = checkerboard()
        asked = queries([[0, 2], [1, 3]], as_of_us=world.data.as_of_us)
        allowed = np.ones((2, 24), np.bool_)
        allowed[0, [0, 2]] = allowed[1, [1, 3]] = False
        found = fit(retriever, world.data).retrieve(asked, 5, allowed=allowed)
        assert found.item_ix[:, 0].tolist() == [4, 5]
        if retriever.name == "ranked":
            assert (found.score[:, 0] > 10 * np.abs(found.score[:, 1:]).max(axis=1)).all()
        else:
            assert ((found.item_ix % 2).T == [0, 1]).all()
