"""Random order, the floor below the floor. The same request always gets the same order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Candidates, Double, Float, Queries, TrainData
from lifeloop.models import arrays as ar
from lifeloop.models.data import part_of
from lifeloop.models.retrieve.topk import retrieve


@dataclass(frozen=True, slots=True)
class Chance:
    """A uniform random score per item, seeded once at fit and by the history of the request."""

    name: str = "random"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedChance":
        """Draw the seed."""
        return FittedChance(self.name, int(rng.integers(0, 2**32)), data.n_items)


@dataclass(frozen=True, slots=True)
class FittedChance:
    """A seed and the size of the catalogue."""

    name: str
    seed: int
    n_items: int

    def score(self, queries: Queries) -> Float:
        """Return [B, I] uniform numbers in [0, 1)."""
        rows = np.empty((len(queries), self.n_items), dtype=np.float32)
        for b in range(len(queries)):
            newest = queries.item_ix[queries.indptr[b] : queries.indptr[b + 1]][-5:]
            count = int(queries.indptr[b + 1] - queries.indptr[b])
            rng = np.random.default_rng([self.seed, count, *(int(i) for i in newest)])
            rows[b] = rng.random(self.n_items, dtype=np.float32)
        return rows

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return allowed items in random order."""
        return retrieve(self, queries, k=k, allowed=allowed, n_items=self.n_items, personal=False)

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return zeros for the events: all of the score is the bias."""
        amounts = np.zeros(int(queries.indptr[b + 1] - queries.indptr[b]) + 1)
        amounts[-1] = self.score(part_of(queries, b, b + 1))[0, item_ix]
        return amounts

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "name": ar.text(self.name),
            "seed": np.array([self.seed], dtype=np.int64),
            "n_items": np.array([self.n_items], dtype=np.int64),
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        return cls(
            name=ar.read_text(arrays, "name"),
            seed=int(ar.needed(arrays, "seed")[0]),
            n_items=int(ar.needed(arrays, "n_items")[0]),
        )
