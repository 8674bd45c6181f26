"""Texts, pictures and sounds of items in one space, each missing where it is missing."""

import numpy as np
import pytest

from lifeloop.contracts import Double, Float, Int
from lifeloop.encoders.fusion import LEAST_PAIRS, LEAST_WEIGHT, Modality, fuse, learned_weights
from lifeloop.models.retrieve.masked import block_sizes, shared_length

NO_PAIRS = (np.empty(0, np.int32), np.empty(0, np.int32))


def unit(rows: Double | list[list[float]]) -> Float:
    made = np.asarray(rows, dtype=np.float64)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), dtype=np.float32)


def rows(*values: int) -> Int:
    return np.array(values, dtype=np.int32)


TEXT = Modality("text", unit([[1, 0, 0], [0, 1, 0], [1, 1, 0]]), rows(0, 1, -1, -1, 2, 0))
LOOKS = Modality("picture", unit([[1, 0], [1, 1]]), rows(0, -1, 0, -1, 1, 0))


def test_every_item_is_of_length_one_or_has_no_vector_and_equal_items_share_a_row() -> None:
    made = fuse([TEXT, LOOKS], NO_PAIRS, rng=np.random.default_rng(0))
    assert made.blocks == (3, 2)
    assert made.content_ix[3] == -1
    assert made.content_ix[0] == made.content_ix[5]
    assert len(made.content) == 4
    np.testing.assert_allclose(np.linalg.norm(made.content, axis=1), 1.0, atol=1e-6)
    assert not made.content[made.content_ix[1], 3:].any()
    assert not made.content[made.content_ix[2], :3].any()


def cosine(content: Float, i: int, j: int, blocks: tuple[int, ...]) -> float:
    sizes = block_sizes(content, blocks)
    length = shared_length(sizes[i][None, :], sizes[j])[0]
    return float(content[i] @ content[j] / length) if length else float("nan")


def test_two_items_are_compared_by_what_both_have() -> None:
    made = fuse([TEXT, LOOKS], NO_PAIRS, rng=np.random.default_rng(0))
    both, words, picture, other = (made.content_ix[i] for i in (0, 1, 2, 4))
    assert cosine(made.content, both, picture, made.blocks) == pytest.approx(1.0)
    assert cosine(made.content, both, words, made.blocks) == pytest.approx(0.0, abs=1e-6)
    assert np.isnan(cosine(made.content, words, picture, made.blocks))
    # by hand: text ⟨(1,0,0), (1,1,0)/√2⟩, picture ⟨(1,0), (1,1)/√2⟩, each with weight 1/2
    assert cosine(made.content, both, other, made.blocks) == pytest.approx(np.sqrt(0.5))


def told_and_noise(n: int = 400) -> tuple[Modality, Modality, tuple[Int, Int]]:
    """Items of two kinds that only the first modality tells apart; people keep to their kind."""
    rng = np.random.default_rng(1)
    kind = np.arange(n) % 2
    meaning = unit(np.eye(8)[kind] + 0.3 * rng.standard_normal((n, 8)))
    noise = unit(rng.standard_normal((n, 8)))
    left = rng.integers(0, n, 2000).astype(np.int32)
    right = (2 * rng.integers(0, n // 2, 2000) + kind[left]).astype(np.int32)
    every = np.arange(n, dtype=np.int32)
    keep = left != right
    return Modality("a", meaning, every), Modality("b", noise, every), (left[keep], right[keep])


def test_what_tells_apart_what_people_use_weighs_most() -> None:
    meaning, noise, used = told_and_noise()
    rng = np.random.default_rng(0)
    weights, pairs = learned_weights([meaning, noise], used, rng=rng)
    assert pairs == len(used[0])
    assert weights[0] > 0.85
    assert weights.sum() == pytest.approx(1.0)
    turned, _ = learned_weights([noise, meaning], used, rng=np.random.default_rng(0))
    np.testing.assert_allclose(turned[::-1], weights, atol=1e-6)
    assert weights[1] >= LEAST_WEIGHT / (1 + 2 * LEAST_WEIGHT)


def test_with_little_to_learn_from_all_weigh_the_same() -> None:
    meaning, noise, (left, right) = told_and_noise()
    few = left[: LEAST_PAIRS - 1], right[: LEAST_PAIRS - 1]
    weights, pairs = learned_weights([meaning, noise], few, rng=np.random.default_rng(0))
    assert (weights.tolist(), pairs) == ([0.5, 0.5], 0)
    random = np.random.default_rng(2).permutation(right)
    apart = random != left
    blind, _ = learned_weights(
        [noise, noise], (left[apart], random[apart]), rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(blind, 0.5, atol=0.01)


def test_the_same_seed_gives_the_same_weights() -> None:
    meaning, noise, used = told_and_noise()
    twice = [
        learned_weights([meaning, noise], used, rng=np.random.default_rng(5))[0] for _ in range(2)
    ]
    np.testing.assert_array_equal(twice[0], twice[1])
