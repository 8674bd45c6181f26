"""EASE: each item predicted from all others by ridge regression, in closed form.

H. Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019, equation 8:
G = XᵀX + λI, P = G⁻¹, B_ij = −P_ij / P_jj for i ≠ j, B_jj = 0, and score = x B.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack

from lifeloop.contracts import Bool, Candidates, Double, Float, Int, Queries, TrainData
from lifeloop.errors import InputError
from lifeloop.models import arrays as ar
from lifeloop.models.data import part_of
from lifeloop.models.retrieve.fold import Folded, fold, weight_unit
from lifeloop.models.retrieve.itemknn import used_by
from lifeloop.models.retrieve.topk import retrieve

RIDGES = (0.2, 1.0, 5.0, 25.0, 125.0, 600.0)
"""Shares of the ridge that are tried where settings are learned."""
DOUBLE = 4000
"""Items up to which the equations are solved in double precision."""
MANY = 512
"""Queries at once from which two threads share them; each row is summed by one of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """What is counted once, whatever the ridge: XᵀX and, of a sequential ridge, XᵀY."""

    covered: Int  # [n] item indices, ascending
    place: Int  # [I] row of the sums, -1 where not covered
    gram: NDArray[Any]  # [n, n]
    weight_unit: float
    cross: Double | None = None  # [n, n]

    def copy(self) -> "Sums":
        """Return the same in memory of its own."""
        cross = None if self.cross is None else self.cross.copy()
        return replace(self, gram=self.gram.copy(), cross=cross)


@dataclass(frozen=True, slots=True)
class Ease:
    """EASE on the ``n_items`` items with most people; it says nothing (-inf) of the others.

    Parameters
    ----------
    n_items : int
        Time grows with its cube, memory with its square (6,000 items: 144 MB).
    ridge : float
        λ above.
    half_life_events : float or None
        How fast the history fades in the request; x is 0 or 1 where None.
    """

    n_items: int = 6000
    ridge: float = 100.0
    half_life_events: float | None = None
    name: str = "ease"

    @property
    def step(self) -> str:
        """What tells the steps of the ladder apart."""
        return f"λ {self.ridge:g}"

    def ladder(self) -> "tuple[Ease, ...]":
        """Return the same with other ridges; see ``models.climb``."""
        return tuple(replace(self, ridge=self.ridge * times) for times in RIDGES)

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedEase":
        """Solve; nothing random."""
        return self.solved(self.counted(data))

    def counted(self, data: TrainData) -> Sums:
        """Return the sums that every ridge begins with."""
        people = used_by(data)  # [U, I]
        count = np.bincount(people.indices, minlength=data.n_items)
        most = np.lexsort((np.arange(data.n_items), -count))[: self.n_items]
        covered = np.sort(most[count[most] > 0])  # [n]
        used = people[:, covered]  # [U, n]
        precision = np.float64 if covered.size <= DOUBLE else np.float32
        gram = (used.T @ used).toarray().astype(precision)
        place = places(covered, data.n_items)
        return Sums(covered.astype(np.int32), place, gram, weight_unit(data.weight))

    def solved(self, sums: Sums) -> "FittedEase":
        """Solve with this ridge, in the memory of ``sums``, which are of no use afterwards."""
        return FittedEase(
            name=self.name,
            covered=sums.covered,
            place=sums.place,
            weights=_solved(sums.gram, self.ridge),
            weight_unit=sums.weight_unit,
            half_life_events=self.half_life_events,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedEase:
    """The matrix B over the covered items."""

    name: str
    covered: Int  # [n] item indices, ascending
    place: Int  # [I] row of B, -1 where not covered
    weights: Float  # [n, n] B
    weight_unit: float
    half_life_events: float | None

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.place)

    def at(self, half_life_events: float | None) -> Self:
        """Return the same model with another half-life of the history."""
        return replace(self, half_life_events=half_life_events)

    def score(self, queries: Queries) -> Float:
        """Return [B, I]; -inf outside the covered items and for histories without any of them."""
        told, any_inside = self._product(queries)
        if len(self.covered) == self.n_items:
            scores = told
        else:
            scores = np.full((len(queries), self.n_items), -np.inf, dtype=np.float32)
            scores[:, self.covered] = told
        scores[~any_inside] = -np.inf
        return scores

    def row(self, queries: Queries, b: int) -> tuple[Int, Float]:
        """Return the items with a score for query b (all covered, or none), and the scores."""
        told, any_inside = self._product(part_of(queries, b, b + 1))
        if not any_inside[0]:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        return self.covered, told[0]

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best allowed items."""
        return retrieve(self, queries, k=k, allowed=allowed, n_items=self.n_items, personal=True)

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return w_h · B[h, item] at the credited event of each history item; the bias is 0."""
        return np.asarray(self.traces(queries, b, np.array([item_ix], dtype=np.int32))[0])

    def traces(self, queries: Queries, b: int, item_ix: Int) -> Double:
        """Return the contributions [m, n+1] to m items at once."""
        one = part_of(queries, b, b + 1)
        amounts = np.zeros((len(item_ix), len(one.item_ix) + 1))
        item, weight, event = self._folded(one).row(0)
        target, place = self.place[item_ix], self.place[item]
        inside, scored = np.flatnonzero(place >= 0), np.flatnonzero(target >= 0)
        share = self.weights[np.ix_(place[inside], target[scored])].astype(np.float64)  # [h, m]
        amounts[np.ix_(scored, event[inside])] = (weight[inside, None] * share).T
        return amounts

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "name": ar.text(self.name),
            "covered": self.covered,
            "weights": self.weights,
            "n_items": np.array([self.n_items], dtype=np.int64),
            "weight_unit": ar.number(self.weight_unit),
            "half_life_events": ar.number(self.half_life_events),
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        covered = ar.needed(arrays, "covered")
        return cls(
            name=ar.read_text(arrays, "name"),
            covered=covered,
            place=places(covered, int(ar.read_number(arrays, "n_items"))),
            weights=ar.needed(arrays, "weights"),
            weight_unit=ar.read_number(arrays, "weight_unit"),
            half_life_events=ar.read_optional(arrays, "half_life_events"),
        )

    def _product(self, queries: Queries) -> tuple[Float, Bool]:
        """Return x B [B, n] of every query, and which hold a covered item [B].

        A sparse product and not BLAS: each row is summed alone and in order, so a batch answers
        as each query alone and whatever the threads, and histories are short against n.
        """
        folded = self._folded(queries)
        place = self.place[folded.item_ix]
        inside = place >= 0
        before = np.concatenate([[0], np.cumsum(inside)])
        indptr = before[folded.indptr]
        x = sparse.csr_array(
            (folded.weight[inside].astype(np.float32), place[inside], indptr),
            shape=(len(queries), len(self.covered)),
        )
        any_inside = np.diff(indptr) > 0
        if len(queries) < MANY:
            return x @ self.weights, any_inside
        told = np.empty(x.shape, dtype=np.float32)
        halves = [(0, len(queries) // 2), (len(queries) // 2, len(queries))]

        def answer(rows: tuple[int, int]) -> None:
            told[rows[0] : rows[1]] = x[rows[0] : rows[1]] @ self.weights

        with ThreadPoolExecutor(len(halves)) as pool:
            list(pool.map(answer, halves))
        return told, any_inside

    def _folded(self, queries: Queries) -> Folded:
        return fold(
            queries,
            n_items=self.n_items,
            weight_unit=self.weight_unit,
            half_life_events=self.half_life_events,
        )


def _solved(gram: NDArray[Any], ridge: float) -> Float:
    """Return B from XᵀX, by Cholesky, in place."""
    n = len(gram)
    if n == 0:
        return np.empty((0, 0), np.float32)
    gram[np.diag_indices(n)] += ridge
    potrf, potri = (lapack.dpotrf, lapack.dpotri)
    if gram.dtype == np.float32:
        potrf, potri = lapack.spotrf, lapack.spotri
    # the transpose is the same symmetric matrix in the column order that LAPACK works on in place
    factor, failed = potrf(gram.T, lower=1, overwrite_a=1, clean=0)
    if failed == 0:
        factor, failed = potri(factor, lower=1, overwrite_c=1)
    if failed != 0:
        raise InputError(
            "the EASE equations have no stable solution",
            got=f"ridge {ridge}",
            allowed="a larger ridge",
            hint="raise models.ease_lambda",
        )
    inverse = np.tril(factor) + np.tril(factor, -1).T
    weights = -inverse / np.diag(inverse)[None, :]
    weights[np.diag_indices(n)] = 0.0
    return np.ascontiguousarray(weights, dtype=np.float32)


def places(covered: NDArray[Any], n_items: int) -> Int:
    """Return the place of each catalogue item among the covered ones [I], -1 where it is not."""
    place = np.full(n_items, -1, dtype=np.int32)
    place[covered] = np.arange(len(covered), dtype=np.int32)
    return place
