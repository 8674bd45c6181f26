"""NCF, two towers and the rating network keep the contract of every retriever."""

import pytest

from lifeloop.contracts import Retriever
from lifeloop.models.neural.ncf import Ncf
from lifeloop.models.neural.rating_network import RatingNetwork
from lifeloop.models.neural.two_tower import TwoTower
from lifeloop.testing.retriever_suite import RetrieverContract

pytestmark = pytest.mark.extras
pytest.importorskip("torch")

SMALL: list[Retriever] = [
    Ncf(width=8, hidden=16, people=32, each=4, negatives=4, steps=150, rate=2e-2),
    TwoTower(width=8, hidden=16, people=32, steps=100, rate=1e-2),
    RatingNetwork(first=16, second=8, people=32, each=4, steps=150, rate=1e-2),
]


class TestClassics(RetrieverContract):
    @pytest.fixture(params=SMALL, ids=lambda made: made.name)
    def retriever(self, request: pytest.FixtureRequest) -> Retriever:
        found: Retriever = request.param
        return found
