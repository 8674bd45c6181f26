"""The content retriever over blocks: what one has and the other lacks never counts."""

from dataclasses import replace

import numpy as np
import pytest

from lifeloop.contracts import TrainData
from lifeloop.errors import InputError
from lifeloop.models import train_data
from lifeloop.models.data import queries
from lifeloop.models.retrieve.content import Content, FittedContent
from lifeloop.testing.checkerboard import tiny

# text of 2, picture of 3: 0 both, 1 text only, 2 picture only, 3 nothing, 4 both
CONTENT = np.array(
    [[0.6, 0.0, 0.8, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0.6, 0, 0.8, 0]], np.float32
)
ROWS = np.array([0, 1, 2, -1, 3], dtype=np.int32)


def data() -> TrainData:
    made = tiny([0, 0, 1], [0, 1, 2], n_items=5)
    return replace(made, content=CONTENT, content_ix=ROWS, blocks=(2, 3))


def fitted() -> FittedContent:
    return Content().fit(data(), rng=np.random.default_rng(0))


def test_scores_are_cosines_over_the_shared_blocks() -> None:
    scores = fitted().score(queries([[0], [1], [2], [3]]))
    np.testing.assert_allclose(scores[0, [0, 1, 2, 4]], [1.0, 1.0, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(scores[1, [0, 1, 4]], [1.0, 1.0, 0.0], atol=1e-6)
    assert scores[1, 2] == -np.inf  # words only against a picture only: nothing is known
    np.testing.assert_allclose(scores[2, [0, 2, 4]], [0.0, 1.0, 1.0], atol=1e-6)
    assert (scores[3] == -np.inf).all()
    assert (scores[:, 3] == -np.inf).all()


def test_contributions_sum_to_the_score() -> None:
    model, asked = fitted(), queries([[0, 1, 2], [4, 2], [1, 1]])
    scores = model.score(asked)
    for b in range(3):
        for item in (0, 1, 2, 4):
            if scores[b, item] > -np.inf:
                told = model.contributions(asked, b, item)
                assert told.sum() == pytest.approx(float(scores[b, item]), abs=1e-6)


def test_what_was_written_reaches_items_with_words_only() -> None:
    asked = np.array([[1, 0, 0, 0, 0]], np.float32)
    scores = fitted().score(queries([[]], vectors=asked))
    np.testing.assert_allclose(scores[0, [0, 1, 4]], [1.0, 1.0, 0.0], atol=1e-6)
    assert scores[0, 2] == -np.inf


def test_a_bundle_keeps_the_blocks_and_an_older_one_has_none() -> None:
    model = fitted()
    again = FittedContent.load(model.arrays())
    asked = queries([[0, 2], [1]])
    np.testing.assert_array_equal(again.score(asked), model.score(asked))
    old = {k: v for k, v in model.arrays().items() if k != "blocks"}
    assert FittedContent.load(old).blocks == ()


def test_one_block_scores_as_no_blocks() -> None:
    rng = np.random.default_rng(0)
    content = rng.standard_normal((6, 4)).astype(np.float32)
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    plain = tiny([0, 0, 1], [0, 1, 2], n_items=6, content=content)
    asked = queries([[0, 3], [5]])
    one, none = (Content().fit(replace(plain, blocks=b), rng=rng).score(asked) for b in ((4,), ()))
    np.testing.assert_allclose(one, none, atol=1e-6)


def test_blocks_that_do_not_fit_the_vectors_are_refused() -> None:
    import polars as pl

    rows = pl.DataFrame(
        {"user_id": ["a"], "item_id": ["x"], "t_us": [1], "seq": [1], "weight": [1.0],
         "rating": [None]},
        schema={"user_id": pl.String, "item_id": pl.String, "t_us": pl.Int64, "seq": pl.Int64,
                "weight": pl.Float32, "rating": pl.Float64},
    )  # fmt: skip
    with pytest.raises(InputError, match="do not sum to the width 4"):
        train_data(
            rows, item_ids=["x"], content=np.ones((1, 4), np.float32),
            content_ix=np.zeros(1, np.int32), as_of_us=2, blocks=(2, 3),
        )  # fmt: skip
