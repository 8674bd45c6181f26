"""Metrics against hand counts and against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, ndcg_score, top_k_accuracy_score

from lifeloop.contracts import Double
from lifeloop.evaluate import metrics
from lifeloop.evaluate.ranks import ranked

INF = math.inf


def ranks_of(*values: float) -> Double:
    return np.array(values, dtype=np.float64)


@pytest.mark.parametrize(
    ("ranks", "k", "hr", "recall", "precision", "ndcg", "ap", "rr"),
    [
        # One target, found second.
        ((2,), 10, 1, 1, 0.1, 1 / math.log2(3), 1 / 2, 1 / 2),
        # One target, just outside.
        ((11,), 10, 0, 0, 0, 0, 0, 1 / 11),
        # Fewer targets than k: all found, recall 1, precision only 2/10.
        (
            (1, 3),
            10,
            1,
            1,
            0.2,
            (1 + 1 / 2) / (1 + 1 / math.log2(3)),
            (1 + 2 / 3) / 2,
            1,
        ),
        # More targets than k: recall@2 cannot exceed 2/3; NDCG and AP still can be 1.
        ((1, 2, 3), 2, 1, 2 / 3, 1, 1, 1, 1),
        # A tie with one item: half a place.
        ((1.5,), 1, 0, 0, 0, 0, 0, 1 / 1.5),
        ((1.5,), 2, 1, 1, 0.5, 1 / math.log2(2.5), 1 / 1.5, 1 / 1.5),
        # One of two targets unreachable.
        ((1, INF), 10, 1, 0.5, 0.1, 1 / (1 + 1 / math.log2(3)), 0.5, 1),
        ((INF,), 10, 0, 0, 0, 0, 0, 0),
        ((), 10, 0, 0, 0, 0, 0, 0),
    ],
)
def test_accuracy_metrics_equal_the_hand_count(
    ranks: tuple[float, ...],
    k: int,
    hr: float,
    recall: float,
    precision: float,
    ndcg: float,
    ap: float,
    rr: float,
) -> None:
    r = ranks_of(*ranks)
    assert metrics.hit_rate(r, k) == hr
    assert metrics.recall(r, k) == pytest.approx(recall)
    assert metrics.precision(r, k) == pytest.approx(precision)
    assert metrics.ndcg(r, k) == pytest.approx(ndcg)
    assert metrics.average_precision(r, k) == pytest.approx(ap)
    assert metrics.reciprocal_rank(r) == pytest.approx(rr)


@given(seed=st.integers(0, 10_000), n=st.integers(3, 60), k=st.integers(1, 20))
def test_ndcg_and_precision_equal_scikit_learn_where_nothing_ties(
    seed: int, n: int, k: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(n).astype(np.float32)
    truth = np.zeros(n, dtype=int)
    truth[rng.choice(n, size=rng.integers(1, n), replace=False)] = 1
    targets = np.flatnonzero(truth).astype(np.int32)
    ranks, _ = ranked(scores[None].copy(), targets=[targets], seen=[targets[:0]], k=k)
    assert metrics.ndcg(ranks[0], k) == pytest.approx(ndcg_score(truth[None], scores[None], k=k))
    # Uncut average precision: the same sum, divided by all targets.
    assert metrics.average_precision(ranks[0], n) == pytest.approx(
        average_precision_score(truth, scores)
    )


@given(seed=st.integers(0, 10_000))
def test_hit_rate_of_single_targets_equals_scikit_learns_top_k_accuracy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(12.0), (30, 1)), axis=1).astype(np.float32)
    truth = rng.integers(0, 12, 30)
    ranks, _ = ranked(
        scores.copy(),
        targets=[np.array([t], dtype=np.int32) for t in truth],
        seen=[np.zeros(0, dtype=np.int32)] * 30,
        k=3,
    )
    ours = np.mean([metrics.hit_rate(r, 3) for r in ranks])
    assert ours == pytest.approx(top_k_accuracy_score(truth, scores, k=3, labels=np.arange(12)))


@given(
    ranks=hnp.arrays(np.float64, st.integers(1, 15), elements=st.floats(0, 80)),
    k=st.integers(1, 20),
)
def test_every_accuracy_metric_lies_in_the_unit_interval(ranks: Double, k: int) -> None:
    ranks = np.cumsum(np.sort(ranks) * 0 + 1) + np.sort(ranks)  # distinct places, from 1
    for value in (
        metrics.hit_rate(ranks, k),
        metrics.recall(ranks, k),
        metrics.precision(ranks, k),
        metrics.ndcg(ranks, k),
        metrics.average_precision(ranks, k),
        metrics.reciprocal_rank(ranks),
    ):
        assert 0.0 <= value <= 1.0 + 1e-12


LISTS = np.array([[0, 1], [0, -1], [-1, -1]], dtype=np.int32)
USERS_PER_ITEM = np.array([3, 1, 1, 0])


def test_coverage_counts_each_listed_item_once_over_the_whole_catalogue() -> None:
    assert metrics.coverage(LISTS, 4) == 2 / 4
    assert metrics.coverage(LISTS[2:], 4) == 0
    assert metrics.coverage(LISTS, 0) == 0


def test_popularity_percentile_equals_the_hand_count_and_is_nan_for_an_empty_list() -> None:
    # Item 0: three below, itself half: 3.5/4. Item 1: one below, two equal: (1 + 1)/4.
    got = metrics.popularity_percentile(LISTS, USERS_PER_ITEM)
    np.testing.assert_allclose(got, [(3.5 + 2) / 8, 3.5 / 4, np.nan])


def test_novelty_is_zero_bits_for_what_everyone_used_and_grows_with_rarity() -> None:
    got = metrics.novelty(LISTS, USERS_PER_ITEM, 3)
    np.testing.assert_allclose(got, [(0 + 1) / 2, 0, np.nan])  # (1 + 1) / (3 + 1): one bit
    assert metrics.novelty(np.array([[3]], dtype=np.int32), USERS_PER_ITEM, 3)[0] == 2.0


def test_diversity_is_one_minus_the_mean_cosine_of_the_pairs() -> None:
    content = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    content_ix = np.array([0, 1, 2, -1, 0], dtype=np.int32)
    lists = np.array(
        [[0, 1, 2], [0, 4, -1], [0, 3, -1], [-1, -1, -1]],
        dtype=np.int32,
    )
    got = metrics.intra_list_diversity(lists, content, content_ix)
    np.testing.assert_allclose(got, [1 - (0 + 0.6 + 0.8) / 3, 0, np.nan, np.nan], atol=1e-6)
