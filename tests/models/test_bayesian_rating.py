"""Ratings by Gibbs sampling: known factors are found, people folded in, states kept."""

from dataclasses import replace

import numpy as np
import pytest

from lifeloop.contracts import TrainData
from lifeloop.models.data import histories, queries
from lifeloop.models.gibbs import BayesianRating, FittedBayesianRating
from lifeloop.models.rating import RatingModel
from lifeloop.testing.checkerboard import tiny

MADE = BayesianRating(factors=3, burn_in=20, draws=30)


def world(seed: int = 0) -> tuple[TrainData, np.ndarray]:
    """Two hundred people rate a third of sixty items by two factors, with noise of .3."""
    rng = np.random.default_rng(seed)
    p, q = rng.normal(size=(200, 2)), rng.normal(size=(60, 2))
    true = 3.5 + 0.4 * rng.normal(size=(200, 1)) + 0.3 * rng.normal(size=(1, 60)) + 0.6 * p @ q.T
    seen = rng.random((200, 60)) < 0.33
    user, item = np.nonzero(seen)
    data = tiny(user.tolist(), item.tolist(), n_items=60)
    noisy = (true + rng.normal(0, 0.3, true.shape))[seen].astype(np.float32)
    return replace(data, rating=noisy), true


def test_it_predicts_ratings_not_seen_nearly_as_well_as_the_noise_allows() -> None:
    data, true = world()
    fitted = MADE.fit(data, rng=np.random.default_rng(1))
    user, item = np.nonzero(np.ones_like(true))
    seen = set(zip(data.user_ix.tolist(), data.item_ix.tolist(), strict=True))
    rows = np.array([(u, i) for u, i in zip(user, item, strict=True) if (u, i) not in seen])
    asked = histories(data, np.arange(200, dtype=np.int32))
    told = fitted.values(asked, rows[:, 0], rows[:, 1].astype(np.int32))
    error = np.sqrt(np.mean((told - true[rows[:, 0], rows[:, 1]]) ** 2))
    plain = RatingModel(factors=3).fit(data, rng=np.random.default_rng(1))
    other = plain.values(asked, rows[:, 0], rows[:, 1].astype(np.int32))
    before = np.sqrt(np.mean((other - true[rows[:, 0], rows[:, 1]]) ** 2))
    assert error < 0.3
    assert error < before


def test_noise_and_state_are_found_and_survive_files() -> None:
    data, _ = world()
    fitted = MADE.fit(data, rng=np.random.default_rng(1))
    assert 1.0 / np.sqrt(fitted.alpha.mean()) == pytest.approx(0.3, abs=0.05)
    again = FittedBayesianRating.load(fitted.arrays())
    asked = histories(data, np.arange(3, dtype=np.int32))
    owner, item = np.array([0, 1, 2]), np.array([5, 6, 7], np.int32)
    np.testing.assert_array_equal(
        again.values(asked, owner, item), fitted.values(asked, owner, item)
    )
    same = MADE.fit(data, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(same.items, fitted.items)


def test_people_without_ratings_get_the_mean_persons_and_unrated_items_the_mean_items() -> None:
    data, true = world()
    data = replace(data, item_ids=(*data.item_ids, "new"), content_ix=np.full(61, -1, np.int32))
    fitted = MADE.fit(data, rng=np.random.default_rng(1))
    told = fitted.values(queries([[], [3]]), np.array([0, 1]), np.array([60, 60], np.int32))
    assert told == pytest.approx([true.mean()] * 2, abs=0.4)
    assert told[0] == told[1]  # an event without a rating says nothing of ratings


def test_what_a_person_rated_moves_what_is_told_towards_it() -> None:
    data, _ = world()
    fitted = MADE.fit(data, rng=np.random.default_rng(1))
    asked = queries([[1, 2, 3], [1, 2, 3]], rating=[[5.0, 5.0, 5.0], [1.0, 1.0, 1.0]])
    high, low = fitted.values(asked, np.array([0, 1]), np.array([4, 4], np.int32))
    assert high > low + 0.3


def test_a_prediction_says_what_it_rests_on() -> None:
    data, _ = world()
    data = replace(data, item_ids=(*data.item_ids, "new"), content_ix=np.full(61, -1, np.int32))
    fitted = MADE.fit(data, rng=np.random.default_rng(1))
    asked = queries([[1], [1], [], []], rating=[[4.0], [4.0], [], []])
    told = fitted.predict(asked, np.array([2, 60, 2, 60], np.int32))
    assert [one.basis for one in told] == ["user+item", "user", "item", "mean"]
    assert all(one.value is not None and np.isfinite(one.value) for one in told)


def test_without_any_rating_nothing_is_told() -> None:
    data = tiny([0, 0], [0, 1], n_items=2)
    fitted = MADE.fit(data, rng=np.random.default_rng(1))
    assert np.isnan(fitted.values(queries([[0]]), np.array([0]), np.array([1], np.int32))).all()
    (told,) = fitted.predict(queries([[0]]), np.array([1], np.int32))
    assert told.value is None
    assert told.reason == "no_ratings"
