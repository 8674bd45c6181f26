"""Each retriever's formula, against a plain re-computation or numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lifeloop.contracts import Queries, TrainData
from lifeloop.errors import InputError
from lifeloop.models import queries
from lifeloop.models.retrieve import neighbours
from lifeloop.models.retrieve.chance import Chance
from lifeloop.models.retrieve.content import Content
from lifeloop.models.retrieve.ease import Ease
from lifeloop.models.retrieve.fold import fold
from lifeloop.models.retrieve.itemknn import ItemKNN
from lifeloop.models.retrieve.popularity import Popularity
from lifeloop.models.retrieve.topk import best
from lifeloop.models.retrieve.transitions import Transitions
from lifeloop.testing.checkerboard import checkerboard, tiny

RNG = np.random.default_rng(0)


def random_world(seed: int, n_users: int = 30, n_items: int = 12) -> tuple[TrainData, NDArray]:  # type: ignore[type-arg]
    used = np.random.default_rng(seed).random((n_users, n_items)) < 0.3
    user, item = np.nonzero(used)
    data = tiny(user.tolist(), item.tolist(), n_items=n_items)
    return data, used[: data.n_users].astype(float)


def test_ease_is_the_ridge_regression_of_each_item_on_the_others() -> None:
    """Steck's closed form equals n separate ridge regressions without the item itself."""
    data, x = random_world(1)
    fitted = Ease(ridge=7.0).fit(data, rng=RNG)
    for j in fitted.covered.tolist():
        others = [i for i in fitted.covered.tolist() if i != j]
        a, b = x[:, others], x[:, j]
        solved = np.linalg.solve(a.T @ a + 7.0 * np.eye(len(others)), a.T @ b)
        mine = fitted.weights[fitted.place[others], fitted.place[j]]
        np.testing.assert_allclose(mine, solved, atol=1e-5)
        assert fitted.weights[fitted.place[j], fitted.place[j]] == 0


def test_ease_scores_the_most_used_items_only() -> None:
    data = tiny([0, 1, 2, 0, 1, 0, 3], [4, 4, 4, 2, 2, 1, 0], n_items=6)
    fitted = Ease(n_items=2, ridge=1.0).fit(data, rng=RNG)
    assert fitted.covered.tolist() == [2, 4]
    score = fitted.score(queries([[4]]))[0]
    assert np.isneginf(score[[0, 1, 3, 5]]).all()
    # G = [[2+1, 2], [2, 3+1]], det 8, P = [[4, -2], [-2, 3]] / 8, B[4, 2] = −P_42 / P_22 = 1/2
    assert score[2] == pytest.approx(0.5)
    assert np.isneginf(fitted.score(queries([[0]]))).all()


def test_ease_that_cannot_be_solved_says_so() -> None:
    from lifeloop.models.retrieve.ease import _solved

    with pytest.raises(InputError, match="ease_lambda"):
        _solved(np.array([[1.0, 2.0], [2.0, 1.0]]), 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_item_knn_is_the_shrunk_cosine_over_people(seed: int) -> None:
    data, x = random_world(seed)
    fitted = ItemKNN(k=4, shrink=2.0).fit(data, rng=RNG)
    both = x.T @ x
    root = np.sqrt(np.diag(both))
    cosine = both / (np.outer(root, root) + 2.0)
    np.fill_diagonal(cosine, 0.0)
    for i in range(data.n_items):
        order = [int(j) for j in np.argsort(-cosine[i], kind="stable") if cosine[i, j] > 0][:4]
        lo, hi = fitted.indptr[i], fitted.indptr[i + 1]
        assert sorted(fitted.neighbour[lo:hi].tolist()) == sorted(order)
        np.testing.assert_allclose(
            fitted.strength[lo:hi], cosine[i, fitted.neighbour[lo:hi]], rtol=1e-6
        )


def test_item_knn_says_nothing_of_items_the_history_does_not_lead_to() -> None:
    data = tiny([0, 0, 1, 1], [0, 1, 2, 3], n_items=5)
    score = ItemKNN().fit(data, rng=RNG).score(queries([[0]]))[0]
    assert np.flatnonzero(score > -np.inf).tolist() == [1]


def test_transitions_by_hand() -> None:
    """One person: 0 1 2 0 1. Steps: 0→1 gap 1 twice and gap 4 once, 0→2 gap 2, …"""
    data = tiny([0] * 5, [0, 1, 2, 0, 1], n_items=3)
    fitted = Transitions(window=2, decay=0.5, shrink=0.0).fit(data, rng=RNG)
    dense = np.zeros((3, 3))
    for i in range(3):
        lo, hi = fitted.indptr[i], fitted.indptr[i + 1]
        dense[i, fitted.neighbour[lo:hi]] = fitted.strength[lo:hi]
    count = np.array([2, 2, 1])
    steps = np.array([[0, 2.0, 0.5], [0.5, 0, 1.0], [1.0, 0.5, 0]])
    np.testing.assert_allclose(dense, steps / np.sqrt(np.outer(count, count)), rtol=1e-6)


def test_transitions_know_the_direction() -> None:
    data = tiny([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1], n_items=2)
    fitted = Transitions().fit(data, rng=RNG)
    assert fitted.score(queries([[0]]))[0, 1] > 0
    assert np.isneginf(fitted.score(queries([[1]]))).all()


def test_popularity_counts_people_and_halves_with_age() -> None:
    """Days 0 to 3, as_of day 4. Item 0: person 0 twice (days 0, 3); item 1: person 1 (day 2)."""
    data = tiny([0, 1, 1, 0], [0, 2, 1, 0], n_items=4)
    flat = Popularity().fit(data, rng=RNG)
    np.testing.assert_allclose(flat.log_mass, np.log1p([1, 1, 1, 0]), rtol=1e-6)
    assert flat.users.tolist() == [1, 1, 1, 0]
    recent = Popularity(half_life_days=1.0, window_days=2.0).fit(data, rng=RNG)
    # the newest event of a person counts: ages 1, 2 and 3 days
    np.testing.assert_allclose(recent.log_mass, np.log1p([0.5, 0.25, 0.125, 0]), rtol=1e-5)
    assert recent.users_recent.tolist() == [1, 1, 0, 0]


def test_popularity_without_any_times_is_plain_popularity() -> None:
    from dataclasses import replace

    from lifeloop.contracts import UNTIMED

    data = tiny([0, 1, 2], [0, 0, 1], n_items=2)
    untimed = replace(data, t_us=np.full(3, UNTIMED))
    np.testing.assert_allclose(
        Popularity(half_life_days=3.0).fit(untimed, rng=RNG).log_mass, np.log1p([2, 1]), rtol=1e-6
    )


CONTENT = np.array([[1, 0], [0, 1], [0.6, 0.8], [0.6, 0.8]], np.float32)


def test_content_cosine_by_hand() -> None:
    data = tiny([0], [0], n_items=4, content=CONTENT)
    fitted = Content().fit(data, rng=RNG)
    score = fitted.score(queries([[0, 1]]))[0]
    np.testing.assert_allclose(score, np.array([1, 1, 1.4, 1.4]) / math.sqrt(2), rtol=1e-6)
    written = fitted.score(queries([[]], vectors=np.array([[0, 5.0]], np.float32)))[0]
    np.testing.assert_allclose(written, [0, 1, 0.8, 0.8], atol=1e-6)


def test_content_euclidean_by_hand() -> None:
    data = tiny([0], [0], n_items=4, content=CONTENT)
    score = Content(similarity="euclidean").fit(data, rng=RNG).score(queries([[0, 1]]))[0]
    to_0, to_1 = math.dist([1, 0], [0.6, 0.8]), math.dist([0, 1], [0.6, 0.8])
    third = (1 / (1 + to_0) + 1 / (1 + to_1)) / 2
    own = (1 + 1 / (1 + math.sqrt(2))) / 2
    np.testing.assert_allclose(score, [own, own, third, third], rtol=1e-6)


def test_likes_that_cancel_out_say_nothing() -> None:
    content = np.array([[1, 0], [-1, 0], [0, 1]], np.float32)
    data = tiny([0], [0], n_items=3, content=content)
    fitted = Content().fit(data, rng=RNG)
    assert np.isneginf(fitted.score(queries([[0, 1]]))).all()
    assert (fitted.contributions(queries([[0, 1]]), 0, 2) == 0).all()


def test_an_item_without_events_is_found_by_its_content() -> None:
    """I7: attributes and no events."""
    data = tiny([0], [0], n_items=4, content=CONTENT)
    found = (
        Content()
        .fit(data, rng=RNG)
        .retrieve(queries([[1]]), 1, allowed=np.array([0, 0, 1, 1], np.bool_))
    )
    assert found.item_ix.tolist() == [[2]]


def test_a_vector_of_another_encoder_is_refused() -> None:
    data = tiny([0], [0], n_items=4, content=CONTENT)
    with pytest.raises(InputError, match="encoder"):
        Content().fit(data, rng=RNG).score(queries([[]], vectors=np.ones((1, 3), np.float32)))


def test_an_item_counts_once_with_its_strongest_event_and_newest_place() -> None:
    """I2: item 5 viewed, bought, viewed; item 7 viewed before the last view of 5."""
    asked = queries([[5, 5, 7, 5]], weight=[[1, 8, 1, 1]])
    folded = fold(asked, n_items=9, weight_unit=8.0, half_life_events=1.0)
    assert folded.item_ix.tolist() == [7, 5]
    assert folded.event.tolist() == [2, 1]
    np.testing.assert_allclose(folded.weight, [1 / 8 * 0.5, 1.0])


def test_ranks_of_the_half_life_count_distinct_items_per_query() -> None:
    asked = queries([[1, 2, 3], [], [4]])
    folded = fold(asked, n_items=9, weight_unit=1.0, half_life_events=2.0)
    np.testing.assert_allclose(folded.weight, [0.5, 2**-0.5, 1.0, 1.0])
    assert folded.indptr.tolist() == [0, 3, 3, 4]


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.0, 1.0, 4.0])), max_size=12),
        min_size=1,
        max_size=4,
    )
)
def test_folding_equals_a_plain_walk_over_the_events(rows: list[list[tuple[int, float]]]) -> None:
    asked: Queries = queries(
        [[i for i, _ in row] for row in rows], weight=[[w for _, w in row] for row in rows]
    )
    folded = fold(asked, n_items=6, weight_unit=4.0, half_life_events=3.0)
    for b, row in enumerate(rows):
        newest: dict[int, int] = {}
        strongest: dict[int, float] = {}
        credited: dict[int, int] = {}
        for place, (item, weight) in enumerate(row):
            if weight > 0:
                newest[item] = place
                if weight >= strongest.get(item, 0.0):
                    strongest[item], credited[item] = weight, place
        order = sorted(newest, key=lambda item: newest[item])
        items, weights, events = folded.row(b)
        assert items.tolist() == order
        assert (events - asked.indptr[b]).tolist() == [credited[i] for i in order]
        expected = [
            strongest[i] / 4 * 2 ** (-(len(order) - 1 - r) / 3) for r, i in enumerate(order)
        ]
        np.testing.assert_allclose(weights, expected)


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([-math.inf, 0.0, 1.0, 2.0]), max_size=20),
    st.integers(0, 25),
    st.randoms(use_true_random=False),
)
def test_the_best_are_the_stable_sort(scores: list[float], k: int, random) -> None:  # type: ignore[no-untyped-def]
    values = np.array(scores, dtype=np.float32)
    allowed = np.array([random.random() < 0.7 for _ in scores], dtype=np.bool_)
    order = [int(i) for i in np.argsort(-values, kind="stable")]
    expected = [i for i in order if allowed[i] and values[i] > -math.inf][:k]
    assert best(values, k, allowed=allowed).tolist() == expected


def test_random_order_is_uniform_and_differs_between_histories() -> None:
    from scipy import stats

    data = tiny([0], [0], n_items=4000)
    fitted = Chance().fit(data, rng=np.random.default_rng(1))
    one, two = fitted.score(queries([[0], [1]])).astype(np.float64)
    for row in (one, two):
        assert stats.kstest(row, "uniform").pvalue > 0.001
        assert abs(np.corrcoef(row[:-1], row[1:])[0, 1]) < 0.06
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.06


def test_what_little_history_reaches_is_summed_the_same_as_over_the_catalogue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = checkerboard()
    fitted = ItemKNN().fit(world.data, rng=np.random.default_rng(0))
    rows = {}
    for sparse in (0, 10**9):  # never above, always above
        monkeypatch.setattr(neighbours, "SPARSE", sparse)
        rows[sparse] = [fitted.row(world.queries, b) for b in range(len(world.queries))]
    for over_all, reached in zip(rows[10**9], rows[0], strict=True):
        np.testing.assert_array_equal(over_all[0], reached[0])
        np.testing.assert_array_equal(over_all[1], reached[1])
    assert any(len(items) for items, _ in rows[0])
