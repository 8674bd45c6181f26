"""The slate policy: the contract, and what the contract cannot know."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeloop.contracts import Float, PolicyState
from lifeloop.errors import InputError
from lifeloop.policy import choose, propensities
from lifeloop.testing.policy_suite import Choose, PolicyContract


class TestChoose(PolicyContract):
    @pytest.fixture
    def choose(self) -> Choose:
        return choose


ALL = np.ones(3, np.bool_)


@settings(max_examples=40, deadline=None)
@given(
    scores=st.lists(st.floats(-50, 50), min_size=1, max_size=5),
    data=st.data(),
    temperature=st.floats(0.05, 20),
    diversity=st.floats(0, 3),
    k=st.integers(1, 4),
)
def test_probabilities_of_all_ordered_slates_sum_to_one(
    scores: list[float], data: st.DataObject, temperature: float, diversity: float, k: int
) -> None:
    m = len(scores)
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=m, max_size=m)), np.bool_)
    cells = data.draw(st.lists(st.floats(-1, 1), min_size=m * m, max_size=m * m))
    similarity = np.array(cells).reshape(m, m)
    length = min(k, int(allowed.sum()))
    if length == 0:
        return
    total = sum(
        float(
            propensities(
                np.array(scores),
                np.array(slate, dtype=np.int32),
                similarity=similarity,
                allowed=allowed,
                state=PolicyState(temperature=temperature, diversity=diversity),
            ).prod()
        )
        for slate in itertools.permutations(np.flatnonzero(allowed).tolist(), length)
    )
    assert total == pytest.approx(1.0, rel=1e-9)


def test_recomputed_propensities_are_the_logged_ones() -> None:
    rng = np.random.default_rng(8)
    scores, vectors = rng.normal(size=30), rng.normal(size=(30, 6)).astype(np.float32)
    mask, allowed = rng.random(30) < 0.8, rng.random(30) < 0.7
    state = PolicyState(temperature=0.4, diversity=0.5)
    slate = choose(scores, similarity=(vectors, mask), allowed=allowed, state=state, k=10, rng=rng)
    again = propensities(
        scores, slate.picked, similarity=(vectors, mask), allowed=allowed, state=state
    )
    np.testing.assert_allclose(again, slate.propensity, rtol=1e-12)


def test_a_slate_the_policy_could_not_have_drawn_has_propensity_zero() -> None:
    found = propensities(
        np.array([1.0, 2.0, 3.0]),
        np.array([2, 1, 1], dtype=np.int32),
        similarity=None,
        allowed=np.array([True, True, True]),
        state=PolicyState(temperature=0.0),
    )
    assert found.tolist() == [1.0, 1.0, 0.0]
    masked = propensities(
        np.array([1.0, 2.0]),
        np.array([1], dtype=np.int32),
        similarity=None,
        allowed=np.array([True, False]),
        state=PolicyState(temperature=1.0),
    )
    assert masked.tolist() == [0.0]


def test_diversity_puts_the_unlike_item_before_the_twin() -> None:
    scores = np.array([1.0, 0.9, 0.5])
    vectors: Float = np.array([[1, 0], [1, 0], [0, 1]], np.float32)

    def order(diversity: float) -> list[int]:
        slate = choose(
            scores,
            similarity=(vectors, ALL),
            allowed=ALL,
            state=PolicyState(diversity=diversity),
            k=3,
            rng=np.random.default_rng(0),
        )
        return [int(j) for j in slate.picked]

    assert order(0.0) == [0, 1, 2]
    assert order(0.39) == [0, 1, 2]
    assert order(0.41) == [0, 2, 1]


def test_similarity_counts_the_closest_chosen_item_not_the_sum() -> None:
    """By hand: after 0 and 1, item 2 (0.6 to each) pays 0.6 and not 1.2, item 3 pays 0.7."""
    similarity = np.eye(4)
    similarity[2, 0] = similarity[0, 2] = similarity[2, 1] = similarity[1, 2] = 0.6
    similarity[3, 0] = similarity[0, 3] = 0.7
    slate = choose(
        np.array([5.0, 4.9, 1.0, 1.0]),
        similarity=similarity,
        allowed=np.ones(4, np.bool_),
        state=PolicyState(diversity=1.0),
        k=3,
        rng=np.random.default_rng(0),
    )
    assert slate.picked.tolist() == [0, 1, 2]
    np.testing.assert_allclose(slate.utility, [5.0, 4.9, 0.4])


def test_the_three_forms_of_similarity_agree() -> None:
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(12, 5)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    matrix = unit.astype(np.float64) @ unit.T.astype(np.float64)
    scores, slates = rng.normal(size=12), []
    for similarity in (matrix, lambda j: matrix[:, j], (vectors, np.ones(12, np.bool_))):
        slates.append(
            choose(
                scores,
                similarity=similarity,
                allowed=np.ones(12, np.bool_),
                state=PolicyState(temperature=0.3, diversity=0.7),
                k=8,
                rng=np.random.default_rng(6),
            ).picked.tolist()
        )
    assert slates[0] == slates[1] == slates[2]


def test_an_item_without_a_vector_is_like_nothing() -> None:
    vectors: Float = np.array([[1, 0], [1, 0], [1, 0]], np.float32)
    slate = choose(
        np.array([1.0, 0.9, 0.5]),
        similarity=(vectors, np.array([True, True, False])),
        allowed=ALL,
        state=PolicyState(diversity=1.0),
        k=3,
        rng=np.random.default_rng(0),
    )
    assert slate.picked.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (PolicyState(temperature=-1), "temperature -1"),
        (PolicyState(diversity=float("nan")), "diversity nan"),
        (PolicyState(scale=0.0), "scale 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(state: PolicyState, said: str) -> None:
    with pytest.raises(InputError, match=said):
        choose(
            np.arange(3.0), similarity=None, allowed=ALL, state=state, k=1,
            rng=np.random.default_rng(0),
        )  # fmt: skip


def test_shapes_that_do_not_fit_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="not one"):
        choose(np.arange(2.0), similarity=None, allowed=ALL, state=PolicyState(), k=1, rng=rng)
    with pytest.raises(InputError, match="similarity"):
        choose(np.arange(3.0), similarity=np.eye(2), allowed=ALL, state=PolicyState(), k=1, rng=rng)


def test_no_candidates_give_an_empty_slate_with_a_reason() -> None:
    slate = choose(
        np.empty(0), similarity=None, allowed=np.empty(0, np.bool_), state=PolicyState(), k=3,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert slate.picked.size == slate.propensity.size == slate.utility.size == 0
    assert slate.reason == "nothing_allowed"
