"""User-kNN and BPR by hand: neighbours counted on paper, and the optimum of a small problem."""

import numpy as np
import pytest
from scipy.optimize import minimize

from lifeloop.models.data import queries
from lifeloop.models.retrieve.bpr import Bpr, FittedBpr
from lifeloop.models.retrieve.userknn import FittedUserKNN, UserKNN
from lifeloop.testing.checkerboard import checkerboard, tiny


def test_user_knn_adds_up_what_the_nearest_people_used() -> None:
    """Three people: {0, 1}, {0, 1, 2, 3}, {3}; asked with {0, 1} and k = 2."""
    data = tiny([0, 0, 1, 1, 1, 1, 2], [0, 1, 0, 1, 2, 3, 3], n_items=5)
    made = UserKNN(k=2, idf=False)
    found = made.fit(data, rng=np.random.default_rng(0))
    (score,) = found.score(queries([[0, 1]], as_of_us=data.as_of_us))
    # cosines 1 and 2/(sqrt 2 * 2) = .7071; rows [.7071, .7071, 0, 0] and [.5, .5, .5, .5]
    half = 0.5**0.5
    both = half + half / 2
    np.testing.assert_allclose(score[:4], [both, both, half / 2, half / 2], rtol=1e-6)
    assert np.isneginf(score[4])


def test_user_knn_counts_what_everyone_used_for_less() -> None:
    data = tiny([0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 0, 2, 0, 3, 0, 4], n_items=5)
    found = UserKNN(k=1).fit(data, rng=np.random.default_rng(0))
    (score,) = found.score(queries([[0, 3]], as_of_us=data.as_of_us))
    assert np.flatnonzero(score > -np.inf).tolist() == [0, 3]
    assert score[3] > score[0]
    assert found.rarity[0] == pytest.approx(np.log(2.0))
    assert found.rarity[3] == pytest.approx(np.log(5.0))


def test_user_knn_keeps_at_most_so_many_people_and_only_the_k_nearest_speak() -> None:
    world = checkerboard()
    few = UserKNN(people=10).fit(world.data, rng=np.random.default_rng(0))
    assert len(few.indptr) == 11
    found = UserKNN(k=1).fit(world.data, rng=np.random.default_rng(0))
    score = found.score(world.queries)
    # the nearest person is oneself: nothing else is said
    assert ((score > -np.inf).sum(axis=1) == 11).all()


def test_a_history_of_people_nobody_is_near_to_is_an_empty_answer_with_a_reason() -> None:
    data = tiny([0, 0], [0, 1], n_items=3)
    found = UserKNN().fit(data, rng=np.random.default_rng(0))
    listed = found.retrieve(queries([[2]], as_of_us=data.as_of_us), 2)
    assert (listed.item_ix == -1).all()
    assert listed.reason == ("few_scored",)


def test_the_state_of_user_knn_names_nobody() -> None:
    world = checkerboard()
    found = UserKNN().fit(world.data, rng=np.random.default_rng(0))
    assert set(found.arrays()) == {
        "name", "indptr", "item_ix", "share", "rarity", "k", "weight_unit", "half_life_events",
    }  # fmt: skip
    assert isinstance(FittedUserKNN.load(found.arrays()), FittedUserKNN)


def test_the_folded_person_of_bpr_is_the_optimum_of_its_equation() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6, 3)).astype(np.float32)
    found = FittedBpr(
        name="bpr",
        covered=np.arange(6, dtype=np.int32),
        place=np.arange(6, dtype=np.int32),
        vectors=vectors,
        ridge=0.7,
        weight_unit=2.0,
        half_life_events=None,
    )
    asked = queries([[0, 4, 5]], weight=[[2.0, 1.0, 2.0]])
    own, weight = vectors[[0, 4, 5]].astype(np.float64), np.array([1.0, 0.5, 1.0])

    def loss(x: np.ndarray) -> float:
        return float(weight @ np.logaddexp(0.0, -own @ x) + 0.35 * x @ x)

    best = minimize(loss, np.zeros(3), tol=1e-12).x
    np.testing.assert_allclose(found.score(asked)[0], vectors @ best, rtol=1e-4, atol=1e-5)


def test_bpr_is_the_same_for_the_same_seed_and_knows_nothing_of_unused_items() -> None:
    world = checkerboard(n_items=24)
    one, two = (Bpr(rounds=5).fit(world.data, rng=np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one.vectors, two.vectors)
    data = tiny([0, 0, 1], [0, 1, 1], n_items=4)
    score = Bpr(rounds=2).fit(data, rng=np.random.default_rng(4)).score(queries([[0]]))
    assert np.isneginf(score[0, 2:]).all()
    assert np.isfinite(score[0, :2]).all()


def test_an_event_of_bpr_that_counts_half_moves_the_person_less() -> None:
    world = checkerboard()
    found = Bpr(rounds=30).fit(world.data, rng=np.random.default_rng(4))
    whole = found.score(queries([[0, 1]], weight=[[1.0, 1.0]]))[0]
    half = found.score(queries([[0, 1]], weight=[[1.0, 0.25]]))[0]
    assert half[0] > whole[0]
    assert half[1] < whole[1]
