"""The rankers that can be read, and how far their chances can be relied on."""

from dataclasses import replace

import numpy as np
import pytest
from test_ranker_training import table_of

from lifeloop.models.rank.boosted import READABLE, train_booster
from lifeloop.models.rank.calibration import chances, checked, platt, reliability
from lifeloop.models.rank.logistic import FittedLogistic, train_logistic
from lifeloop.models.rank.rules import rules
from lifeloop.models.rank.table import ndcg_per_query

NAMES = ("a.score", "b.score")


def test_logistic_weights_find_the_feature_that_tells_and_say_so_first() -> None:
    table = table_of(np.random.default_rng(0))
    fold = np.arange(len(table.sizes)) % 5
    trained = train_logistic(table, NAMES, fold, folds=5)
    assert trained is not None
    best = ndcg_per_query(table, table.features[:, 0]).mean()
    assert trained.ndcg.mean() == pytest.approx(best, rel=0.03)
    (first, weight), (second, noise) = trained.fitted.told()
    assert (first, second) == NAMES
    assert weight > 5 * abs(noise)


def test_logistic_shares_sum_to_the_score_and_a_missing_feature_adds_one_number() -> None:
    table = table_of(np.random.default_rng(1))
    gaps = table.features.copy()
    gaps[::7, 1] = np.nan
    table = replace(table, features=gaps)
    trained = train_logistic(table, NAMES, np.arange(len(table.sizes)) % 5, folds=5)
    assert trained is not None
    shares = trained.fitted.shares(table.features)
    np.testing.assert_allclose(shares.sum(axis=1), trained.fitted.score(table.features))
    assert len(np.unique(shares[::7, 1])) == 1
    assert np.isfinite(shares).all()
    again = FittedLogistic.load(trained.fitted.arrays())
    np.testing.assert_array_equal(again.score(table.features), trained.fitted.score(table.features))


def test_logistic_weights_by_hand() -> None:
    made = FittedLogistic(
        names=NAMES,
        middle=np.array([1.0, 0.0]),
        spread=np.array([2.0, 1.0]),
        weight=np.array([3.0, -1.0]),
        missing=np.array([0.0, 0.5]),
        base=-2.0,
        slope=2.0,
        level=1.0,
    )
    features = np.array([[5.0, 0.25], [1.0, np.nan]], np.float32)
    np.testing.assert_allclose(made.score(features), [6.0 - 0.25 - 2.0, 0.5 - 2.0])
    np.testing.assert_allclose(made.probability(np.array([-0.5])), [0.5])


def test_without_any_target_there_is_nothing_to_learn() -> None:
    table = table_of(np.random.default_rng(1))
    none = replace(table, target=np.zeros_like(table.target))
    assert train_logistic(none, NAMES, np.arange(len(table.sizes)) % 5, folds=5) is None


def test_a_tree_that_can_be_read_says_the_share_of_hits_in_each_leaf() -> None:
    table = table_of(np.random.default_rng(2), n_queries=400)
    trained = train_booster(table, NAMES, READABLE, rng=np.random.default_rng(1))
    assert trained is not None
    assert trained.rounds == 1
    told = rules(trained.fitted)
    assert 2 <= len(told) <= 8
    assert "a.score" in told[0]
    values = [float(rule.rsplit("→", 1)[1]) for rule in told]
    assert values == sorted(values, reverse=True)
    scores = trained.fitted.score(table.features)
    found = sorted({round(float(v), 4) for v in scores}, reverse=True)
    assert found == pytest.approx(sorted(set(values), reverse=True), abs=1e-4)
    for value in np.unique(scores):
        leaf = scores == value
        assert table.target[leaf].mean() == pytest.approx(value, abs=1e-6)
    assert ndcg_per_query(table, trained.score).mean() > 0.7  # leaves tie, and ties count against


def test_chances_of_the_logistic_model_that_made_them_are_found_again_and_reliable() -> None:
    rng = np.random.default_rng(3)
    score = rng.normal(size=40_000)
    target = rng.random(40_000) < chances(score, 1.5, -2.0)
    slope, level = platt(score, target)
    assert slope == pytest.approx(1.5, abs=0.07)
    assert level == pytest.approx(-2.0, abs=0.07)
    found = checked(score, target, np.arange(40_000) // 4)
    assert found.ece < 0.01
    assert found.mean == pytest.approx(found.came, abs=0.01)
    assert "40,000 candidates" in found.told()


def test_reliability_by_hand_and_of_what_cannot_be_relied_on() -> None:
    found = reliability(np.array([0.2] * 5 + [0.8] * 5), np.array([1, 0, 0, 0, 0] + [1] * 5) > 0)
    # ten bins of one: |.2 - 1| once, .2 four times, |.8 - 1| five times
    assert found.ece == pytest.approx((0.8 + 4 * 0.2 + 5 * 0.2) / 10)
    assert found.brier == pytest.approx((0.64 + 4 * 0.04 + 5 * 0.04) / 10)
    assert reliability(np.full(100, 0.9), np.zeros(100, np.bool_)).ece == pytest.approx(0.9)
    assert reliability(np.empty(0), np.empty(0, np.bool_)).n == 0


def test_higher_scores_never_mean_less_likely() -> None:
    rng = np.random.default_rng(4)
    score = rng.normal(size=500)
    slope, _ = platt(score, rng.random(500) < chances(score, -2.0, -1.0))
    assert slope == 0.0
