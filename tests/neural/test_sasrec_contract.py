"""The transformer keeps the contract of every retriever."""

import pytest

from lifeloop.contracts import Retriever
from lifeloop.models.neural.sasrec import Sasrec
from lifeloop.testing.retriever_suite import RetrieverContract

pytestmark = pytest.mark.extras
pytest.importorskip("torch")
pytest.importorskip("onnx")


class TestSasrec(RetrieverContract):
    @pytest.fixture
    def retriever(self) -> Retriever:
        return Sasrec(width=16, length=12, rounds=3)
