"""The silence that is a risk is the same of one user alone, as at a request, and of many."""

import numpy as np
import pytest

from lifeloop.lifecycle import StageDefinitions
from lifeloop.lifecycle.path import MIN_GAPS, _thresholds


@pytest.mark.parametrize("seed", range(20))
def test_thresholds_of_one_user_are_those_among_many(seed: int) -> None:
    rng = np.random.default_rng(seed)
    d = StageDefinitions(orders=("purchase",), activates=("purchase",))
    gap = rng.choice([0, 0, 1, 2, 7, 30, 89, 90, 91, 400], size=rng.integers(0, 60)).astype(
        np.int64
    )
    n_gaps = np.cumsum(gap > 0, dtype=np.int64)
    alone = _thresholds(gap, n_gaps, np.zeros(len(gap), np.int64), d)
    before = 3  # the days of somebody else
    start = np.append(np.zeros(before, np.int64), np.full(len(gap), before))
    nobody = np.zeros(before, np.int64)
    among = _thresholds(np.append(nobody, gap), np.append(nobody, n_gaps), start, d)
    assert np.array_equal(alone, among[before:])
    by_hand = d.at_risk_gap_days
    if n_gaps.max(initial=0) >= MIN_GAPS:
        own = sorted(min(int(g), d.churned_gap_days) for g in gap if g > 0)
        by_hand = own[-(-9 * len(own) // 10) - 1]
    if len(gap):
        assert alone[-1] == by_hand
