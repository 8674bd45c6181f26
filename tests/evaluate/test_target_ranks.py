"""From scores to ranks: seen items, ties, unreachable targets, refusals."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifeloop.contracts import Int
from lifeloop.errors import InputError
from lifeloop.evaluate.ranks import ranked, rows_of


def ix(*values: int) -> Int:
    return np.array(values, dtype=np.int32)


def test_seen_items_leave_the_ranking_and_the_list() -> None:
    scores = np.array([[9, 8, 7, 6]], dtype=np.float32)
    ranks, lists = ranked(scores, targets=[ix(2)], seen=[ix(0, 1)], k=3)
    assert ranks[0].tolist() == [1]
    assert lists.tolist() == [[2, 3, -1]]


def test_a_target_tied_with_two_others_stands_in_their_middle() -> None:
    scores = np.array([[5, 1, 1, 1, 0]], dtype=np.float32)
    ranks, _ = ranked(scores, targets=[ix(2)], seen=[ix()], k=5)
    assert ranks[0].tolist() == [3]  # one above, half of two, itself


def test_targets_tied_with_each_other_share_no_place() -> None:
    scores = np.ones((1, 2), dtype=np.float32)
    ranks, _ = ranked(scores, targets=[ix(0, 1)], seen=[ix()], k=2)
    assert ranks[0].tolist() == [1, 2]


def test_unscored_and_unknown_targets_are_never_reached() -> None:
    scores = np.array([[-np.inf, 1, -np.inf, -np.inf]], dtype=np.float32)
    ranks, lists = ranked(scores, targets=[ix(0, -1)], seen=[ix()], k=2)
    assert ranks[0].tolist() == [np.inf, np.inf]
    assert lists.tolist() == [[1, -1]]


def test_a_seen_target_is_never_reached() -> None:
    ranks, _ = ranked(np.array([[1, 2]], dtype=np.float32), targets=[ix(1)], seen=[ix(1)], k=1)
    assert ranks[0].tolist() == [np.inf]


def test_ties_in_the_list_go_to_the_lower_index() -> None:
    _, lists = ranked(np.ones((1, 5), dtype=np.float32), targets=[ix(4)], seen=[ix()], k=3)
    assert lists.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_cannot_be_ranked_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="cannot be ranked"):
        ranked(np.array([[0, bad]], dtype=np.float32), targets=[ix(0)], seen=[ix()], k=1)


@given(data=st.data())
def test_the_rank_of_one_target_is_its_mean_over_all_orders_of_the_ties(
    data: st.DataObject,
) -> None:
    scores = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=6))
    target = data.draw(st.integers(0, len(scores) - 1))
    places = []
    for order in itertools.permutations(range(len(scores))):
        ordered = sorted(order, key=lambda i: -scores[i])  # stable: ties in this order
        places.append(ordered.index(target) + 1)
    got, _ = ranked(np.array([scores], dtype=np.float32), targets=[ix(target)], seen=[ix()], k=1)
    assert got[0][0] == pytest.approx(np.mean(places))


@given(seed=st.integers(0, 9999))
def test_a_monotone_change_of_scores_changes_no_rank(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, (4, 9)).astype(np.float32)
    targets = [rng.choice(9, size=3, replace=False).astype(np.int32) for _ in range(4)]
    seen = [rng.choice(9, size=2, replace=False).astype(np.int32) for _ in range(4)]
    before = ranked(scores.copy(), targets=targets, seen=seen, k=4)
    after = ranked(np.exp(scores) * 3 - 7, targets=targets, seen=seen, k=4)
    assert [r.tolist() for r in before[0]] == [r.tolist() for r in after[0]]
    assert before[1].tolist() == after[1].tolist()


def test_rows_hold_the_items_of_each_user_and_nothing_for_the_others() -> None:
    rows = rows_of(np.array([0, 0, 2]), ix(5, 6, 7), 3)
    assert [rows.of(u).tolist() for u in range(len(rows))] == [[5, 6], [], [7]]
