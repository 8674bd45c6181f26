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
            key = self.seed
            for item in queries.item_ix[queries.indptr[b] : queries.indptr[b + 1]].tolist():
                key = (key * 1_000_003 + item + 1) % 2**64
            rows[b] = _uniform(np.uint64(key), self.n_items)
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


def _uniform(key: np.uint64, n: int) -> Float:
    """Return n numbers in [0, 1), a pure function of the key.

    SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is what is meant
        z = key + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    # 24 bits are what float32 holds, so that 1.0 is never reached by rounding
    return ((z >> np.uint64(40)).astype(np.float64) / 2**24).astype(np.float32)
