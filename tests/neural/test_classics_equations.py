"""The classics by hand: equations worked on paper, losses that fall, and what a bundle refuses."""

from dataclasses import replace

import numpy as np
import pytest

from lifeloop.contracts import TrainData
from lifeloop.errors import BundleError
from lifeloop.models.data import queries
from lifeloop.models.neural.bags import Bags
from lifeloop.models.neural.equations import ncf, rating, two_tower
from lifeloop.models.neural.served import FittedClassic
from lifeloop.testing.checkerboard import checkerboard, tiny

F = np.float32


def test_the_rating_network_is_the_textbooks_equation_worked_by_hand() -> None:
    """u = [0.6, 0.8]; W2 [3, 4], W3 [2, 3], W4 [1, 2]; one hidden unit is below 0."""
    weights = {
        "text": np.array([[0.6, 0.8], [1.0, 0.0]], F),
        "w2": np.array([[1, 0, 1, 0], [0, -1, 0, 1], [0, 1, 1, 1]], F),
        "w3": np.array([[1, 0, 1], [-1, 1, 0]], F),
        "w4": np.array([0.5, 2.0], F),
        "b4": np.array(0.25, F),
        "b_r": np.array(3.0, F),
    }
    found = rating(weights, np.array([0], np.int32), np.array([1.0]), None)
    # item 0: W2[u;i] = [1.2, 0.0, 2.2] -> W3: [3.4, -1.2 -> 0] -> 1.7 + .25 + 3
    # item 1: W2[u;i] = [1.6, -0.8 -> 0, 1.8] -> W3: [3.4, -1.6 -> 0] -> 1.7 + .25 + 3
    np.testing.assert_allclose(found, [4.95, 4.95], rtol=1e-6)
    weights["b4"] = np.array(-10.0, F)
    np.testing.assert_allclose(
        rating(weights, np.array([0], np.int32), np.array([1.0]), None), [3.0, 3.0]
    )


def test_words_move_the_person_of_the_rating_network() -> None:
    weights = {
        "text": np.array([[1.0, 0.0], [0.0, 1.0]], F),
        "w2": np.eye(4, dtype=F)[[0, 1]],
        "w3": np.eye(2, dtype=F),
        "w4": np.array([1.0, 10.0], F),
        "b4": np.array(0.0, F),
        "b_r": np.array(0.0, F),
    }
    none = np.empty(0, np.int32)
    found = rating(weights, none, np.empty(0), np.array([3.0, 4.0], F))
    np.testing.assert_allclose(found, [0.6 + 8.0] * 2, rtol=1e-6)


def test_ncf_adds_the_product_and_the_network_of_the_same_pair() -> None:
    weights = {
        "history_g": np.array([[2.0], [0.0]], F),
        "history_m": np.array([[1.0], [3.0]], F),
        "item_g": np.array([[1.0], [-1.0]], F),
        "w1_user": np.array([[1.0], [-1.0]], F),
        "w1_item_of_all": np.array([[0.5, 0.0], [1.0, 4.0]], F),
        "b1": np.array([0.0, 0.5], F),
        "w2": np.array([[1.0, 2.0]], F),
        "b2": np.array([0.0], F),
        "h_g": np.array([0.5], F),
        "h_m": np.array([2.0], F),
        "bias": np.array([0.0, 0.1], F),
    }
    found = ncf(weights, np.array([0], np.int32), np.array([1.0]), None)
    # item 0: GMF .5*2*1 = 1; layer 1 [1.5, -.5 -> 0] -> 1.5 -> 2*1.5 = 3
    # item 1: GMF .5*2*-1 = -1; layer 1 [2, 3.5] -> 9 -> 18; bias .1
    np.testing.assert_allclose(found, [4.0, 17.1], rtol=1e-6)


def test_two_towers_meet_in_a_cosine_over_the_temperature() -> None:
    weights = {
        "inputs": np.array([[3.0, 0.0], [0.0, 4.0]], F),
        "towers": np.array([[1.0, 0.0], [0.6, 0.8]], F),
        "u1": np.eye(2, dtype=F),
        "u1_b": np.zeros(2, F),
        "u2": np.eye(2, dtype=F),
        "u2_b": np.zeros(2, F),
        "temperature": np.array([0.5], F),
    }
    both = two_tower(weights, np.array([0, 1], np.int32), np.array([1.0, 0.75]), None)
    # the mean of [3, 0] and .75 [0, 4] points to [1, 1]
    np.testing.assert_allclose(both, [2.0 * 0.5**0.5, 2.0 * 1.4 * 0.5**0.5], rtol=1e-6)


def test_examples_leave_the_positive_out_and_never_count_what_was_used_as_a_negative() -> None:
    world = checkerboard(n_users=10)
    data = replace(world.data, weight=np.where(world.data.item_ix % 4 < 2, 1.0, 0.5).astype(F))
    bags = Bags.of(data)
    used = set(zip(data.user_ix.tolist(), data.item_ix.tolist(), strict=True))
    batch = next(bags.examples(10, 4, 6, np.random.default_rng(0)))
    assert len(batch.positive) == 40
    for e in range(40):
        start = batch.start[batch.owner[e]]
        stop = [*batch.start.tolist(), len(batch.item)][batch.owner[e] + 1]
        own = batch.item[start:stop]
        (user,) = {u for u, _ in used if {i for v, i in used if v == u} == set(own.tolist())}
        assert batch.positive[e] in own
        kept = own != batch.positive[e]
        assert batch.left[e] == pytest.approx(batch.weight[start:stop][kept].sum(), rel=1e-5)
        for item, fair in zip(batch.negative[e], batch.fair[e], strict=True):
            assert fair == ((user, int(item)) not in used)


def test_a_person_with_one_item_teaches_nothing_and_no_events_end_at_once() -> None:
    assert list(Bags.of(tiny([0, 1], [0, 1], n_items=2)).examples(2, 2, 2, _rng())) == []
    assert list(Bags.of(tiny([], [], n_items=2)).examples(2, 2, 2, _rng())) == []


def test_a_network_of_another_version_is_refused_with_a_next_step() -> None:
    made = FittedClassic("x", "later", {}, np.zeros(1, np.bool_), np.zeros(1, np.bool_), 1.0)
    with pytest.raises(BundleError, match=r"later.*train again"):
        FittedClassic.load(made.arrays())


@pytest.mark.extras
def test_the_rating_network_learns_ratings_where_there_are_some() -> None:
    """Even items are rated 5 by even people and 1 by odd ones: the network must tell them apart."""
    pytest.importorskip("torch")
    from lifeloop.models.neural.rating_network import RatingNetwork

    data = _rated()
    made = RatingNetwork(first=16, second=8, people=32, each=4, steps=400, rate=1e-2)
    found = made.fit(data, rng=np.random.default_rng(1))
    scores = found.score(queries([[0, 2, 4], [1, 3, 5]], as_of_us=data.as_of_us))
    assert scores[0, ::2].mean() > scores[0, 1::2].mean() + 2
    assert scores[1, 1::2].mean() > scores[1, ::2].mean() + 2
    assert scores.min() > 0.5
    assert scores.max() < 6.0


def _rated() -> TrainData:
    """Everyone used every item of their colour, rated 5, and two of the other, rated 1."""
    world = checkerboard()
    user = np.concatenate([world.data.user_ix, np.repeat(np.arange(60), 2)]).astype(np.int32)
    other = (np.arange(60)[:, None] + 1) % 2 + np.array([[0, 2]]) + 2 * (np.arange(60)[:, None] % 9)
    item = np.concatenate([world.data.item_ix, other.reshape(-1)]).astype(np.int32)
    rating_ = np.where((user + item) % 2 == 0, 5.0, 1.0).astype(F)
    weight = np.where(rating_ > 3, 1.0, 0.05).astype(F)
    order = np.argsort(user, kind="stable")
    return replace(
        world.data,
        user_ix=user[order],
        item_ix=item[order],
        rating=rating_[order],
        weight=weight[order],
        t_us=np.arange(len(user), dtype=np.int64) + world.data.t_us.min(),
    )


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)
