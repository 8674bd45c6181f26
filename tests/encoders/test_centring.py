"""Taking the mean out, and what stays zero."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lifeloop.encoders import centred, corpus_mean


def test_the_hand_count() -> None:
    vectors = np.array([[1, 0], [0, 1]], dtype=np.float32)
    mean = corpus_mean(vectors)
    assert mean.tolist() == [0.5, 0.5]
    half = np.sqrt(0.5)
    np.testing.assert_allclose(centred(vectors, mean), [[half, -half], [-half, half]], atol=1e-6)


def test_masked_rows_do_not_pull_the_mean_and_stay_zero() -> None:
    vectors = np.array([[1, 0], [0, 0]], dtype=np.float32)
    mean = corpus_mean(vectors, np.array([True, False]))
    assert mean.tolist() == [1, 0]
    # The first row is the mean: nothing is left of it, and that is not NaN.
    assert centred(vectors, mean).tolist() == [[0, 0], [0, 0]]


def test_no_rows_have_a_mean_of_zero() -> None:
    assert corpus_mean(np.zeros((0, 3), dtype=np.float32)).tolist() == [0, 0, 0]


@given(seed=st.integers(0, 9999), n=st.integers(1, 20))
def test_rows_come_back_with_length_one_or_zero_and_the_input_is_left_alone(
    seed: int, n: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    before = vectors.copy()
    out = centred(vectors, corpus_mean(vectors))
    lengths = np.linalg.norm(out, axis=1)
    assert np.all((np.abs(lengths - 1) < 1e-5) | (lengths == 0))
    np.testing.assert_array_equal(vectors, before)
