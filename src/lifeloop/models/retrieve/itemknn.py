"""Items used by the same people: cosine over people, the k nearest per item."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lifeloop.contracts import Float, Int, Long, TrainData
from lifeloop.models.retrieve.fold import weight_unit
from lifeloop.models.retrieve.neighbours import FittedNeighbours
from lifeloop.models.retrieve.topk import neighbour_lists

BLOCK_CELLS = 8_000_000
"""Co-occurrences held at once while neighbours are chosen."""


@dataclass(frozen=True, slots=True)
class ItemKNN:
    """S_ij = n_ij / (√(n_i n_j) + shrink), n counting people; the k largest per row i are kept.

    Parameters
    ----------
    k : int
        Neighbours kept per item.
    shrink : float
        Distrust of items with few people, in people.
    half_life_events : float or None
        How fast the history fades, see ``fold``.
    """

    k: int = 100
    shrink: float = 10.0
    half_life_events: float | None = None
    name: str = "itemknn"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> FittedNeighbours:
        """Count who used both; nothing random."""
        people = used_by(data)  # [U, I]
        items = people.T.tocsr()  # [I, U]
        root = np.sqrt(np.diff(items.indptr)).astype(np.float32)  # [I]
        # a row of the product is at most as long as the histories of the item's people together
        reach = np.asarray(items @ np.diff(people.indptr).astype(np.float32))
        sizes: list[Long] = []
        cols: list[Int] = []
        values: list[Float] = []
        for lo, hi in _blocks(reach):
            both = items[lo:hi] @ people  # [hi-lo, I] how many used both
            row = np.repeat(np.arange(lo, hi, dtype=both.indices.dtype), np.diff(both.indptr))
            scale = root[both.indices]
            scale *= np.repeat(root[lo:hi], np.diff(both.indptr))
            scale += np.float32(self.shrink)
            value = np.divide(both.data, scale, out=scale)
            value[row == both.indices] = 0.0  # an item is no neighbour of its own
            indptr, picked = neighbour_lists(both.indptr, both.indices, value, k=self.k)
            sizes.append(np.diff(indptr))
            cols.append(both.indices[picked])
            values.append(value[picked])
        none = np.empty(0, np.int64)
        return FittedNeighbours(
            name=self.name,
            indptr=np.concatenate([[0], np.cumsum(np.concatenate([*sizes, none]))]).astype(
                np.int64
            ),
            neighbour=np.concatenate([*cols, none]).astype(np.int32),
            strength=np.concatenate([*values, none]).astype(np.float32),
            weight_unit=weight_unit(data.weight),
            half_life_events=self.half_life_events,
        )


def used_by(data: TrainData) -> sparse.csr_array:
    """Return the binary matrix people × items, float32, columns sorted."""
    matrix = sparse.coo_array(
        (np.ones(len(data.user_ix), np.float32), (data.user_ix, data.item_ix)),
        shape=(data.n_users, data.n_items),
    ).tocsr()
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def _blocks(reach: NDArray[np.floating]) -> list[tuple[int, int]]:
    blocks, start, held = [], 0, 0.0
    for i, size in enumerate(reach):
        if i > start and held + size > BLOCK_CELLS:
            blocks.append((start, i))
            start, held = i, 0.0
        held += size
    if start < len(reach):
        blocks.append((start, len(reach)))
    return blocks
