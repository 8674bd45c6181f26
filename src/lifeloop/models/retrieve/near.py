"""Nearest vectors of a large catalogue through an inverted file, where reading all takes too long.

The vectors are put into cells by k-means; a search reads the cells nearest to what is asked (Jégou,
Douze and Schmid, TPAMI 2011, section IV). How many cells are read is not chosen: it is the least
power of two with which the index finds ``WANTED`` of the exact hundred nearest, as measured
when it is made. FAISS does the work (extra ``[ann]``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Double, Float, Long
from lifeloop.errors import MissingExtra

FROM = 50_000
"""Distinct vectors from which on an index is made; fewer are all read, which is exact."""
NEAREST = 2_000
"""Vectors that a search returns."""
WANTED, AT, ASKED, MIXED = 0.99, 100, 100, 3
"""Share of the exact ``AT`` nearest that must be found, on average over ``ASKED`` profiles of
``MIXED`` vectors drawn at random."""
PER_CELL, ROUNDS = 48, 8
"""Vectors of each cell that k-means looks at, and how often."""


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """An inverted file over unit vectors, and what all of them together look like.

    ``moment`` is Σ v vᵀ / I over the I items, so that the root mean square of what all items
    score for p is √(pᵀ moment p), which a search that reads a part of them could not know.
    ``recall`` is what was measured when the index was made.
    """

    cells: Any  # faiss.IndexIVF
    moment: Double  # [d, d]
    recall: float

    def nearest(self, direction: Float, k: int = NEAREST) -> tuple[Long, Float]:
        """Return the rows [m] of the nearest vectors, ascending, and their inner products [m]."""
        score, row = self.cells.search(direction[None, :].astype(np.float32), k)
        found = row[0] >= 0
        order = np.argsort(row[0][found])
        return row[0][found][order], score[0][found][order]

    def rms(self, direction: Double) -> float:
        """Return the root mean square of the inner products of all items with a direction."""
        return float(np.sqrt(max(float(direction @ self.moment @ direction), 0.0)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        import faiss

        return {
            "near.cells": faiss.serialize_index(self.cells),
            "near.moment": self.moment,
            "near.recall": np.array([self.recall]),
        }


def opened(arrays: Mapping[str, NDArray[Any]]) -> Index | None:
    """Rebuild from ``arrays``; None where there is none, or FAISS is not installed.

    Without FAISS every vector is read, which finds the same items or better ones, more slowly.
    """
    if "near.cells" not in arrays:
        return None
    try:
        import faiss
    except ImportError:
        return None
    cells = faiss.deserialize_index(np.ascontiguousarray(arrays["near.cells"], dtype=np.uint8))
    return Index(cells, arrays["near.moment"], float(arrays["near.recall"][0]))


def index(vectors: Float, n_sharing: Long, *, n_items: int, rng: np.random.Generator) -> Index:
    """Make the index of unit vectors [n, d]; ``n_sharing`` [n] of the ``n_items`` have each.

    Raises
    ------
    MissingExtra
        FAISS is not installed.
    """
    try:
        import faiss
    except ImportError as missing:
        raise MissingExtra("an index of the nearest vectors", "ann") from missing
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # several threads add up in another order: another index
    try:
        n, width = vectors.shape
        n_cells = int(2 ** np.round(np.log2(max(4.0, np.sqrt(n)))))
        cells: Any = faiss.index_factory(width, f"IVF{n_cells},Flat", faiss.METRIC_INNER_PRODUCT)
        cells.cp.niter, cells.cp.seed = ROUNDS, int(rng.integers(1 << 30))
        cells.cp.spherical = True
        some = rng.choice(n, min(n, PER_CELL * n_cells), replace=False)
        cells.train(np.ascontiguousarray(vectors[np.sort(some)]))
        cells.add(np.ascontiguousarray(vectors))
        recall = _widened(cells, vectors, n_cells, rng=rng)
    finally:
        faiss.omp_set_num_threads(threads)
    moment = _moment(vectors, n_sharing) / max(n_items, 1)
    return Index(cells, moment, recall)


def _widened(cells: Any, vectors: Float, n_cells: int, *, rng: np.random.Generator) -> float:
    """Read as many cells as it takes, and return the recall that is reached."""
    # profiles of items that have nothing to do with each other: the hardest that are asked for
    asked = vectors[rng.integers(0, len(vectors), (ASKED, MIXED))].mean(axis=1)
    asked /= np.maximum(np.linalg.norm(asked, axis=1, keepdims=True), np.float32(1e-12))
    k = min(AT, len(vectors))
    exact = [np.argpartition(-(vectors @ one), k - 1)[:k] for one in asked]
    recall, probed = 0.0, 1
    while True:
        cells.nprobe = probed
        _, rows = cells.search(asked, k)
        found = [len(np.intersect1d(a, b)) for a, b in zip(rows, exact, strict=True)]
        recall = float(np.mean(found)) / k
        if recall >= WANTED or probed >= n_cells:
            return recall
        probed *= 2


def _moment(vectors: Float, n_sharing: Long, step: int = 65_536) -> Double:
    total = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), step):
        some = vectors[start : start + step].astype(np.float64)
        total += (some * n_sharing[start : start + step, None]).T @ some
    return total
