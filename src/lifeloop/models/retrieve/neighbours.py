"""A sparse item-to-item matrix, folded in: what item-kNN and transitions have in common.

score_i = Σ_h w_h · S[h, i] over the items h of the history that have i among their neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Candidates, Double, Float, Int, Long, Queries
from lifeloop.models import arrays as ar
from lifeloop.models.data import part_of, slices
from lifeloop.models.retrieve.fold import Folded, fold
from lifeloop.models.retrieve.topk import retrieve

SPARSE = 64
"""A history reaches little where the catalogue is this many times larger: to sort what it reaches
is then cheaper than to count over the catalogue."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedNeighbours:
    """Rows of neighbours in CSR form. -inf for items that no history item leads to."""

    name: str
    indptr: Long  # [I+1]
    neighbour: Int  # [nnz]
    strength: Float  # [nnz] > 0
    weight_unit: float
    half_life_events: float | None

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.indptr) - 1

    def at(self, half_life_events: float | None) -> Self:
        """Return the same model with another half-life of the history."""
        return replace(self, half_life_events=half_life_events)

    def score(self, queries: Queries) -> Float:
        """Return [B, I]."""
        scores = np.full((len(queries), self.n_items), -np.inf, dtype=np.float32)
        for b in range(len(queries)):
            item_ix, row = self.row(queries, b)
            scores[b, item_ix] = row
        return scores

    def row(self, queries: Queries, b: int) -> tuple[Int, Float]:
        """Return the items that query b's history leads to, and their scores."""
        item, weight, _ = self._folded(part_of(queries, b, b + 1)).row(0)
        start = self.indptr[item]
        size = self.indptr[item + 1] - start
        reach = slices(start, size)  # [nnz of the history's rows]
        amount = np.repeat(weight, size) * self.strength[reach]
        neighbour = self.neighbour[reach]
        if len(neighbour) * SPARSE > self.n_items:
            total = np.bincount(neighbour, weights=amount, minlength=self.n_items)
            found = np.flatnonzero(total > 0)
            return found.astype(np.int32), total[found].astype(np.float32)
        # little is reached: not over the catalogue; the sums are added in the same order
        reached, place = np.unique(neighbour, return_inverse=True)
        total = np.bincount(place, weights=amount, minlength=len(reached))
        found = np.flatnonzero(total > 0)
        return reached[found].astype(np.int32), total[found].astype(np.float32)

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best allowed neighbours of the history."""
        return retrieve(self, queries, k=k, allowed=allowed, n_items=self.n_items, personal=True)

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return w_h · S[h, item] at the credited event of each history item; the bias is 0."""
        return np.asarray(self.traces(queries, b, np.array([item_ix], dtype=np.int32))[0])

    def traces(self, queries: Queries, b: int, item_ix: Int) -> Double:
        """Return the contributions [m, n+1] to m items at once."""
        one = part_of(queries, b, b + 1)
        amounts = np.zeros((len(item_ix), len(one.item_ix) + 1))
        item, weight, event = self._folded(one).row(0)
        start = self.indptr[item]
        size = self.indptr[item + 1] - start
        reach = slices(start, size)
        slot = np.full(self.n_items, -1, dtype=np.int32)
        slot[item_ix] = np.arange(len(item_ix))
        column = slot[self.neighbour[reach]]
        hit = np.flatnonzero(column >= 0)
        owner = np.repeat(np.arange(len(item)), size)[hit]
        amounts[column[hit], event[owner]] = weight[owner] * self.strength[reach[hit]]
        return np.asarray(amounts[slot[item_ix]])  # an item asked for twice gets one answer

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "name": ar.text(self.name),
            "indptr": self.indptr,
            "neighbour": self.neighbour,
            "strength": self.strength,
            "weight_unit": ar.number(self.weight_unit),
            "half_life_events": ar.number(self.half_life_events),
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        return cls(
            name=ar.read_text(arrays, "name"),
            indptr=ar.needed(arrays, "indptr"),
            neighbour=ar.needed(arrays, "neighbour"),
            strength=ar.needed(arrays, "strength"),
            weight_unit=ar.read_number(arrays, "weight_unit"),
            half_life_events=ar.read_optional(arrays, "half_life_events"),
        )

    def _folded(self, queries: Queries) -> Folded:
        return fold(
            queries,
            n_items=self.n_items,
            weight_unit=self.weight_unit,
            half_life_events=self.half_life_events,
        )
