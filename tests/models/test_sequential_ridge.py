"""The sequential ridge against the regression written out, and its place in time."""

import numpy as np
import pytest

from lifeloop.models.data import queries
from lifeloop.models.retrieve import sequential
from lifeloop.models.retrieve.sequential import FORGOTTEN, SequentialRidge, pair_sums
from lifeloop.testing.checkerboard import tiny


def test_pair_sums_equal_the_matrices_written_out() -> None:
    rng = np.random.default_rng(3)
    user = np.sort(rng.integers(0, 6, 90)).astype(np.int64)
    item = rng.integers(0, 7, 90).astype(np.int64)
    decay = 0.8
    x, y = [], []
    for person in range(6):
        past = np.zeros(7)
        for i in item[user == person]:
            x.append(past)
            y.append(np.eye(7)[i])
            past = decay * past + np.eye(7)[i]
    gram, cross = pair_sums(user, item, n=7, decay=decay)
    # the two differ by the pairs that were forgotten
    np.testing.assert_allclose(gram, np.array(x).T @ np.array(x), atol=90 * FORGOTTEN)
    np.testing.assert_allclose(cross, np.array(x).T @ np.array(y), atol=90 * FORGOTTEN)


def test_what_always_follows_comes_first_and_its_opposite_does_not() -> None:
    people = [u for u in range(40) for _ in range(2)]
    data = tiny(people, [0, 1] * 20 + [2, 3] * 20, n_items=4)
    fitted = SequentialRidge(ridge=1.0).fit(data, rng=np.random.default_rng(0))
    scores = fitted.score(queries([[0], [1], [2]], as_of_us=data.as_of_us))
    assert scores[0].argmax() == 1
    assert scores[2].argmax() == 3
    assert abs(scores[1, 0]) < 1e-6  # nobody went from 1 to 0


def test_weights_solve_the_ridge_equations() -> None:
    rng = np.random.default_rng(4)
    user, item = np.sort(rng.integers(0, 30, 400)), rng.integers(0, 12, 400)
    data = tiny(user.tolist(), item.tolist(), n_items=12)
    model = SequentialRidge(ridge=50.0, half_life_events=2.0)
    fitted = model.fit(data, rng=rng)
    decay = 2.0**-0.5
    gram, cross = pair_sums(
        data.user_ix.astype(np.int64), data.item_ix.astype(np.int64), n=12, decay=decay
    )
    left = (gram + 50.0 * np.eye(12)) @ fitted.weights
    np.testing.assert_allclose(left, cross, atol=1e-4)


def test_large_catalogues_are_solved_in_single_precision_to_the_same_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(5)
    user, item = np.sort(rng.integers(0, 60, 2_000)), rng.integers(0, 40, 2_000)
    data = tiny(user.tolist(), item.tolist(), n_items=40)
    double = SequentialRidge().fit(data, rng=rng)
    monkeypatch.setattr(sequential, "DOUBLE", 10)
    assert SequentialRidge().counted(data).gram.dtype == np.float32
    single = SequentialRidge().fit(data, rng=rng)
    np.testing.assert_allclose(single.weights, double.weights, rtol=1e-4, atol=1e-7)
