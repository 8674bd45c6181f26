"""What follows what: directed, decayed steps from an item to the items used soon after it."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from lifeloop.contracts import Double, Int, TrainData
from lifeloop.models.retrieve.fold import weight_unit
from lifeloop.models.retrieve.neighbours import FittedNeighbours
from lifeloop.models.retrieve.topk import neighbour_lists

AT_ONCE = 5
"""Distances whose steps are held together before they are added up."""


@dataclass(frozen=True, slots=True)
class Transitions:
    """T_ij = Σ decay^(gap−1) over every time j followed i by gap ≤ window events of one person.

    The strength kept is T_ij / √((n_i + shrink)(n_j + shrink)), n the number of events of an
    item. Unlike item-kNN it knows the direction: a sequel follows the first part.

    Parameters
    ----------
    k : int
        Followers kept per item.
    window : int
        How many events later still count.
    decay : float
        How much less each further event counts, in (0, 1].
    shrink : float
        Distrust of rare items, in events.
    """

    k: int = 200
    window: int = 20
    decay: float = 0.9
    shrink: float = 5.0
    half_life_events: float | None = 3.0
    name: str = "transitions"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> FittedNeighbours:
        """Count the steps; nothing random."""
        shape = (data.n_items, data.n_items)
        steps = sparse.csr_array(shape, dtype=np.float64)
        for lo in range(1, self.window + 1, AT_ONCE):
            parts = [
                self._steps(data, gap) for gap in range(lo, min(lo + AT_ONCE, self.window + 1))
            ]
            source, target, weight = (np.concatenate(each) for each in zip(*parts, strict=True))
            steps = steps + sparse.coo_array((weight, (source, target)), shape=shape).tocsr()
        steps.sum_duplicates()
        count = np.bincount(data.item_ix, minlength=data.n_items) + self.shrink
        # in place: the matrix has tens of millions of cells on a large catalogue
        value, cols = steps.data, steps.indices
        value /= np.repeat(np.sqrt(count), np.diff(steps.indptr))
        value /= np.sqrt(count)[cols]
        indptr, picked = neighbour_lists(steps.indptr, cols, value, k=self.k)
        return FittedNeighbours(
            name=self.name,
            indptr=indptr,
            neighbour=cols[picked].astype(np.int32),
            strength=value[picked].astype(np.float32),
            weight_unit=weight_unit(data.weight),
            half_life_events=self.half_life_events,
        )

    def _steps(self, data: TrainData, gap: int) -> tuple[Int, Int, Double]:
        """Return from where to where people went in ``gap`` events, and what that counts."""
        one = data.user_ix[:-gap] == data.user_ix[gap:]
        source, target = data.item_ix[:-gap][one], data.item_ix[gap:][one]
        other = source != target
        weight = np.full(int(other.sum()), self.decay ** (gap - 1))
        return source[other], target[other], weight
