"""The contract of a slate policy, as tests: the propensities that are logged are the truth.

Subclass ``PolicyContract`` and give it a fixture ``choose`` with the signature of
``lifeloop.policy.choose``.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pytest
from scipy import stats

from lifeloop.contracts import Bool, Double, PolicyState, Slate
from lifeloop.errors import InputError


class Choose(Protocol):
    """What is tested."""

    def __call__(
        self,
        scores: Double,
        *,
        similarity: Double | None,
        allowed: Bool,
        state: PolicyState,
        k: int,
        rng: np.random.Generator,
    ) -> Slate:
        """Choose k of m."""
        ...


def step_probabilities(
    scores: Sequence[float],
    taken: Sequence[int],
    *,
    similarity: Double,
    allowed: Sequence[bool],
    state: PolicyState,
) -> dict[int, float]:
    """Return the distribution of the next position, written out in plain Python as a reference."""
    left = [
        j for j in range(len(scores)) if allowed[j] and j not in taken and scores[j] != -math.inf
    ]
    utility = {
        j: scores[j] / state.scale
        - state.diversity * max((float(similarity[j, i]) for i in taken), default=0.0)
        for j in left
    }
    mass = {j: math.exp(utility[j] / state.temperature) for j in left}
    return {j: mass[j] / sum(mass.values()) for j in left}


class PolicyContract:
    """What every slate policy keeps."""

    @pytest.fixture
    def choose(self) -> Choose:
        """The policy under test."""
        raise NotImplementedError

    @pytest.fixture
    def world(self) -> tuple[Double, Double, Bool, PolicyState]:
        """Five candidates, one of them excluded, some alike."""
        rng = np.random.default_rng(3)
        vectors = rng.normal(size=(5, 3))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        allowed = np.array([True, True, False, True, True])
        state = PolicyState(temperature=0.7, diversity=0.8, scale=2.0)
        return np.array([1.0, 0.2, 9.0, -0.5, 1.1]), vectors @ vectors.T, allowed, state

    def test_propensities_equal_the_enumerated_ones(
        self, choose: Choose, world: tuple[Double, Double, Bool, PolicyState]
    ) -> None:
        scores, similarity, allowed, state = world
        seen = set()
        for seed in range(60):
            slate = choose(
                scores, similarity=similarity, allowed=allowed, state=state, k=3,
                rng=np.random.default_rng(seed),
            )  # fmt: skip
            for position, j in enumerate(slate.picked):
                expected = step_probabilities(
                    scores.tolist(), slate.picked[:position].tolist(),
                    similarity=similarity, allowed=allowed.tolist(), state=state,
                )  # fmt: skip
                assert slate.propensity[position] == pytest.approx(expected[int(j)], rel=1e-12)
            seen.add(tuple(slate.picked.tolist()))
        assert len(seen) > 10

    def test_slates_come_as_often_as_their_propensities_say(
        self, choose: Choose, world: tuple[Double, Double, Bool, PolicyState]
    ) -> None:
        """Chi-square over all 12 ordered slates of two; the seed is fixed."""
        scores, similarity, allowed, state = world
        rng = np.random.default_rng(2024)
        drawn: dict[tuple[int, int], int] = dict.fromkeys(
            itertools.permutations([0, 1, 3, 4], 2), 0
        )
        n = 4000
        for _ in range(n):
            slate = choose(
                scores, similarity=similarity, allowed=allowed, state=state, k=2, rng=rng
            )
            drawn[int(slate.picked[0]), int(slate.picked[1])] += 1
        expected = []
        for first, second in drawn:
            one, two = (
                step_probabilities(
                    scores.tolist(), taken,
                    similarity=similarity, allowed=allowed.tolist(), state=state,
                )[j]
                for taken, j in ((list[int](), first), ([first], second))
            )  # fmt: skip
            expected.append(n * one * two)
        assert sum(expected) == pytest.approx(n)
        assert stats.chisquare(list(drawn.values()), expected).pvalue > 0.01

    def test_what_is_masked_is_never_drawn(
        self, choose: Choose, world: tuple[Double, Double, Bool, PolicyState]
    ) -> None:
        scores, similarity, allowed, _ = world
        for temperature in (0.0, 0.3, 1e6):
            state = PolicyState(temperature=temperature)
            for seed in range(20):
                slate = choose(
                    scores, similarity=similarity, allowed=allowed, state=state, k=5,
                    rng=np.random.default_rng(seed),
                )  # fmt: skip
                assert sorted(slate.picked.tolist()) == [0, 1, 3, 4]
                assert slate.reason is not None

    def test_greedy_takes_the_best_with_certainty_and_ties_in_the_order_given(
        self, choose: Choose
    ) -> None:
        slate = choose(
            np.array([1.0, 3.0, 3.0, 2.0]),
            similarity=None,
            allowed=np.ones(4, np.bool_),
            state=PolicyState(temperature=0.0),
            k=3,
            rng=np.random.default_rng(0),
        )
        assert slate.picked.tolist() == [1, 2, 3]
        assert slate.propensity.tolist() == [1.0, 1.0, 1.0]
        assert slate.utility.tolist() == [3.0, 3.0, 2.0]
        assert slate.reason is None

    def test_greedy_asks_for_no_randomness(self, choose: Choose) -> None:
        rng = np.random.default_rng(9)
        before = rng.bit_generator.state
        choose(
            np.arange(4.0), similarity=None, allowed=np.ones(4, np.bool_), state=PolicyState(),
            k=2, rng=rng,
        )  # fmt: skip
        assert rng.bit_generator.state == before

    def test_the_same_seed_draws_the_same_slate(
        self, choose: Choose, world: tuple[Double, Double, Bool, PolicyState]
    ) -> None:
        scores, similarity, allowed, state = world
        slates = [
            choose(
                scores, similarity=similarity, allowed=allowed, state=state, k=4,
                rng=np.random.default_rng(5),
            )
            for _ in range(2)
        ]  # fmt: skip
        np.testing.assert_array_equal(slates[0].picked, slates[1].picked)
        np.testing.assert_array_equal(slates[0].propensity, slates[1].propensity)

    @pytest.mark.parametrize(
        "scores",
        [
            [1e300, -1e300, 0.0, 5.0],
            [1e-300, 0.0, -1e-300, 0.0],
            [7.0, 7.0, 7.0, 7.0],
            [-math.inf, 1.0, -math.inf, 2.0],
            [-1e308, -1e308, -1e307, -1e308],
            [-math.inf] * 4,
        ],
    )
    @pytest.mark.parametrize("temperature", [0.0, 1e-9, 1.0, 1e9])
    def test_extreme_scores_give_numbers(
        self, choose: Choose, scores: list[float], temperature: float
    ) -> None:
        slate = choose(
            np.array(scores), similarity=None, allowed=np.ones(4, np.bool_),
            state=PolicyState(temperature=temperature, scale=1e-3), k=4,
            rng=np.random.default_rng(1),
        )  # fmt: skip
        n_finite = sum(s > -math.inf for s in scores)
        assert len(slate.picked) == len(set(slate.picked.tolist())) == n_finite
        assert ((slate.propensity > 0) & (slate.propensity <= 1)).all()
        assert np.isfinite(slate.utility).all()
        assert (slate.reason is None) == (n_finite == 4)

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_scores_that_are_not_numbers_are_refused(self, choose: Choose, bad: float) -> None:
        with pytest.raises(InputError, match=r"NaN or \+inf"):
            choose(
                np.array([1.0, bad]), similarity=None, allowed=np.ones(2, np.bool_),
                state=PolicyState(), k=1, rng=np.random.default_rng(0),
            )  # fmt: skip
