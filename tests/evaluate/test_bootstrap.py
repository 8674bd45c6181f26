"""Intervals and p-values against scipy and against theory."""

import numpy as np
import pytest
from scipy import stats

from lifeloop.evaluate import bootstrap


def test_intervals_agree_with_scipys_percentile_bootstrap() -> None:
    values = np.random.default_rng(1).gamma(0.5, size=(300, 1))
    ours = bootstrap(values, seed=2, draws=5000)[0]
    scipys = stats.bootstrap((values[:, 0],), np.mean, n_resamples=5000, method="percentile", rng=3)
    assert ours.mean == pytest.approx(values.mean())
    assert ours.se == pytest.approx(scipys.standard_error, rel=0.05)
    low, high = scipys.confidence_interval
    assert (ours.lo, ours.hi) == pytest.approx((low, high), abs=0.15 * ours.se)


@pytest.mark.parametrize("errors_from_zero", [-1.2, 0.5, 1.5, 2.2])
def test_p_of_a_paired_difference_agrees_with_the_t_test(errors_from_zero: float) -> None:
    rng = np.random.default_rng(5)
    noise = stats.zscore(rng.normal(size=400), ddof=1)
    right = rng.normal(0.3, 1, 400)
    left = right + noise + errors_from_zero / np.sqrt(400)
    ours = bootstrap((left - right)[:, None], seed=0, draws=20_000)[0]
    assert ours.p == pytest.approx(float(stats.ttest_rel(left, right).pvalue), abs=0.02)
    assert (ours.lo > 0 or ours.hi < 0) == (ours.p < 0.05)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for seed in range(300):
        interval = bootstrap(rng.exponential(1.0, (80, 1)), seed=seed, draws=400)[0]
        covered += interval.lo <= 1.0 <= interval.hi
    # A 95% interval on 80 skewed values covers slightly less; 3 binomial errors are 4%.
    assert 0.89 <= covered / 300 <= 0.99


def test_equal_models_differ_by_nothing_with_p_one() -> None:
    interval = bootstrap(np.zeros((50, 1)), seed=0)[0]
    assert (interval.mean, interval.se, interval.lo, interval.hi, interval.p) == (0, 0, 0, 0, 1)


def test_columns_share_their_resamples_and_a_seed_repeats() -> None:
    values = np.random.default_rng(0).random((40, 1))
    both = bootstrap(np.hstack([values, values]), seed=9, draws=100)
    assert both[0] == both[1]
    assert both == bootstrap(np.hstack([values, values]), seed=9, draws=100)
    assert both[0] != bootstrap(values, seed=10, draws=100)[0]


def test_one_user_gives_an_interval_without_width() -> None:
    interval = bootstrap(np.array([[0.5]]), seed=0)[0]
    assert (interval.lo, interval.hi, interval.se) == (0.5, 0.5, 0.0)
