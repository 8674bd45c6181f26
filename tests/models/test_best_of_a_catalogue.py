"""The best k of many scores, held against sorting them all."""

import numpy as np
import pytest

from lifeloop.models.retrieve.topk import GROUP, best


def by_sorting(scores: np.ndarray, k: int, allowed: np.ndarray | None) -> list[int]:
    may = scores > -np.inf
    if allowed is not None:
        may &= allowed
    return sorted(np.flatnonzero(may).tolist(), key=lambda i: (-scores[i], i))[:k]


@pytest.mark.parametrize("levels", [1, 3, 50, 10**6])
@pytest.mark.parametrize("k", [0, 1, 7, 40, 200])
def test_the_best_are_those_of_a_full_sort_ties_to_the_lower_index(k: int, levels: int) -> None:
    rng = np.random.default_rng(k * 31 + levels)
    for n in (0, 1, GROUP - 1, GROUP * 40 + 5, GROUP * 300):
        scores = rng.integers(0, levels, n).astype(np.float32)
        scores[rng.random(n) < 0.3] = -np.inf
        for allowed in (None, rng.random(n) < 0.5, np.zeros(n, np.bool_)):
            assert best(scores, k, allowed=allowed).tolist() == by_sorting(scores, k, allowed)


def test_scores_that_are_no_numbers_are_never_listed_and_hide_nothing() -> None:
    scores = np.arange(GROUP * 64, dtype=np.float32)
    scores[64::64] = np.nan  # in the same group as the best but one
    scores[: GROUP * 32 : 3] = np.nan
    for k in (1, 10, 50, 5000):
        assert best(scores, k).tolist() == by_sorting(scores, k, None)
