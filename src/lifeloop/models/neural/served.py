"""A trained classic as it is served: named arrays, an equation, the history folded in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Candidates, Double, Float, Int, Long, Queries
from lifeloop.errors import BundleError
from lifeloop.models import arrays as ar
from lifeloop.models.data import part_of
from lifeloop.models.neural.equations import SAYS
from lifeloop.models.neural.occlusion import occluded
from lifeloop.models.retrieve.fold import fold
from lifeloop.models.retrieve.topk import retrieve


@dataclass(frozen=True, slots=True, eq=False)
class FittedClassic:
    """Weights and the equation they belong to; no row about any person."""

    name: str
    equation: str  # of ``equations.SAYS``
    weights: Mapping[str, NDArray[np.float32]]
    scored: Bool  # [I]
    known: Bool  # [I] items that say something in a history
    weight_unit: float
    reads_words: bool = False

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.scored)

    def score(self, queries: Queries) -> Float:
        """Return [B, I]; -inf for items the network does not know and without any evidence."""
        scores = np.full((len(queries), self.n_items), -np.inf, dtype=np.float32)
        for b in range(len(queries)):
            item, weight, _ = self._history(queries, b)
            words = self._words(queries, b)
            if len(item) or words is not None:
                told = SAYS[self.equation](self.weights, item, weight, words)
                scores[b] = np.where(self.scored, told, np.float32(-np.inf))
        return scores

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best allowed items."""
        return retrieve(self, queries, k=k, allowed=allowed, n_items=self.n_items, personal=True)

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return how much the score falls without each item of the history; see ``occlusion``."""
        return np.asarray(self.traces(queries, b, np.array([item_ix], dtype=np.int32))[0])

    def traces(self, queries: Queries, b: int, item_ix: Int) -> Double:
        """Return the contributions [m, n+1] to m items at once."""
        one = part_of(queries, b, b + 1)
        item, weight, event = self._history(one, 0)
        words = self._words(one, 0)
        width = len(one.item_ix) + 1
        if not len(item) and words is None:
            return np.zeros((len(item_ix), width))

        def say(kept: Long) -> Double:
            told = SAYS[self.equation](self.weights, item[kept], weight[kept], words)
            return np.asarray(told[item_ix], dtype=np.float64)

        return occluded(say, event, width=width)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "name": ar.text(self.name),
            "equation": ar.text(self.equation),
            "scored": self.scored,
            "known": self.known,
            "weight_unit": ar.number(self.weight_unit),
            "reads_words": np.array([self.reads_words]),
            **{f"weights.{name}": value for name, value in self.weights.items()},
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        equation = ar.read_text(arrays, "equation")
        if equation not in SAYS:
            raise BundleError(
                "a bundle holds a network of an unknown kind",
                got=equation,
                allowed=", ".join(SAYS),
                hint="it was written by another version of lifeloop; train again",
            )
        return cls(
            name=ar.read_text(arrays, "name"),
            equation=equation,
            weights={
                name.removeprefix("weights."): value
                for name, value in arrays.items()
                if name.startswith("weights.")
            },
            scored=ar.needed(arrays, "scored"),
            known=ar.needed(arrays, "known"),
            weight_unit=ar.read_number(arrays, "weight_unit"),
            reads_words=bool(ar.needed(arrays, "reads_words")[0]),
        )

    def _history(self, queries: Queries, b: int) -> tuple[Int, Double, Long]:
        folded = fold(
            queries, n_items=self.n_items, weight_unit=self.weight_unit, half_life_events=None
        )
        item, weight, event = folded.row(b)
        inside = self.known[item]
        return item[inside], weight[inside], event[inside]

    def _words(self, queries: Queries, b: int) -> Float | None:
        if not self.reads_words or queries.vectors is None or queries.mask is None:
            return None
        return queries.vectors[b] if queries.mask[b] else None
