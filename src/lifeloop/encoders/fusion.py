"""Late fusion: what an item says, shows and sounds like, in one vector of several blocks.

An item's vector is [√w_1 v_1, …, √w_M v_M] brought to length 1, v_m its unit vector in modality m
and zero where it has none. Two items are compared by what both have,

    cos(i, j) = Σ_m w_m ⟨v_im, v_jm⟩ / Σ_m w_m,    m over the modalities that both have,

so a missing picture says nothing, not even that two items differ. The weights are those with
which the cosines best tell apart what one person used in a row from what was drawn at random: a
logistic regression with w_m >= 0 (Cox 1958) over pairs of items that have every modality.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from lifeloop.contracts import Double, Float, Int, Long

LEAST_PAIRS = 200
"""Pairs with every modality under which all weigh the same."""
MOST_PAIRS = 20_000
LEAST_WEIGHT = 0.02
"""No modality weighs less: an item that has nothing else must still have a vector."""
RIDGE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Modality:
    """One way in which items are known; equal contents share a row."""

    name: str
    vectors: Float  # [c, d] unit rows
    rows: Int  # [I], -1: the item has none


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """Items in one space, as ``TrainData`` takes them."""

    content: Float  # [c, Σ d] unit rows
    content_ix: Int  # [I]
    blocks: tuple[int, ...]  # width of each modality
    weights: Double  # [M], sum 1
    pairs: int  # on how many pairs they were learned; 0: equal


def fuse(
    modalities: Sequence[Modality], used: tuple[Int, Int], *, rng: np.random.Generator
) -> Fused:
    """Return the items' vectors of all modalities, which must be of the same I items.

    Parameters
    ----------
    used : pair of int32 arrays [n]
        Items that one person used one after the other; different items.
    """
    weights, pairs = learned_weights(modalities, used, rng=rng)
    rows = np.stack([m.rows for m in modalities], axis=1)  # [I, M]
    distinct, where = np.unique(rows, axis=0, return_inverse=True)  # [c, M]
    blocks = tuple(int(m.vectors.shape[1]) for m in modalities)
    content = np.zeros((len(distinct), sum(blocks)), dtype=np.float32)
    start = 0
    for modality, own, weight, width in zip(modalities, distinct.T, weights, blocks, strict=True):
        has = np.flatnonzero(own >= 0)
        block = modality.vectors[own[has]] * np.float32(np.sqrt(weight))
        content[has, start : start + width] = block
        start += width
    length = np.linalg.norm(content.astype(np.float64), axis=1)  # [c]
    some = length > 0
    content = content[some] / length[some, None].astype(np.float32)
    place = np.where(some, np.cumsum(some) - 1, -1).astype(np.int32)
    return Fused(content, place[np.asarray(where).ravel()], blocks, weights, pairs)


def learned_weights(
    modalities: Sequence[Modality], used: tuple[Int, Int], *, rng: np.random.Generator
) -> tuple[Double, int]:
    """Return the weights [M], which sum to 1, and the number of pairs that taught them."""
    n = len(modalities)
    equal = np.full(n, 1.0 / n)
    every = np.flatnonzero(np.all([m.rows >= 0 for m in modalities], axis=0))
    complete = np.zeros(len(modalities[0].rows), dtype=np.bool_)
    complete[every] = True
    left, right = used
    kept: Long = np.flatnonzero(complete[left] & complete[right])
    if n < 2 or len(kept) < LEAST_PAIRS:
        return equal, 0
    if len(kept) > MOST_PAIRS:
        kept = np.sort(rng.choice(kept, MOST_PAIRS, replace=False))
    left, right = left[kept], right[kept]
    other = rng.permutation(right)  # as often used, by others
    apart = (other != left) & (other != right)
    near = _cosines(modalities, left, right)
    far = _cosines(modalities, left[apart], other[apart])
    told = np.concatenate([near, far])  # [p, M]
    label = np.concatenate([np.ones(len(near)), np.zeros(len(far))])
    found = np.maximum(_logistic(told, label), 0.0)
    if found.sum() <= 1e-9:
        return equal, 0
    shares = np.maximum(found / found.sum(), LEAST_WEIGHT)
    return shares / shares.sum(), len(kept)


def _cosines(modalities: Sequence[Modality], left: Int, right: Int) -> Double:
    """Return [p, M]."""
    return np.stack(
        [
            np.einsum("pd,pd->p", m.vectors[m.rows[left]], m.vectors[m.rows[right]])
            for m in modalities
        ],
        axis=1,
    ).astype(np.float64)


def _logistic(told: Double, label: Double) -> Double:
    """Return the coefficients [M], each at least 0; the intercept is free."""
    x = np.column_stack([told, np.ones(len(told))])

    def loss(w: Double) -> tuple[float, Double]:
        z = x @ w
        value = float((np.logaddexp(0.0, z) - label * z).mean()) + RIDGE * float(w[:-1] @ w[:-1])
        p = 1.0 / (1.0 + np.exp(-np.clip(z, -50, 50)))
        slope = x.T @ (p - label) / len(x)
        slope[:-1] += 2 * RIDGE * w[:-1]
        return value, slope

    bounds = [(0.0, None)] * told.shape[1] + [(None, None)]
    solved = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(solved.x[:-1], dtype=np.float64)
