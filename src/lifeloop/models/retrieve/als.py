"""Factors of items by alternating least squares, and the history folded in by one small solve.

Training is implicit's: minimise Σ_ui c_ui (p_ui − x_u·y_i)² + λ(Σ‖x_u‖² + Σ‖y_i‖²), p = 1 and
c = 1 + α where the person used the item, p = 0 and c = 1 elsewhere (Y. Hu, Y. Koren, C. Volinsky,
"Collaborative filtering for implicit feedback datasets", ICDM 2008, equations 3 and 4). Only Y is
kept. A request solves its own x from its history with weights w_h (see ``fold``):

    A = YᵀY + λI + Σ_h α w_h y_h y_hᵀ,   x = A⁻¹ Σ_h (1 + α) w_h y_h,   score_i = x · y_i.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from threadpoolctl import threadpool_limits

from lifeloop.contracts import Bool, Candidates, Double, Float, Int, Queries, TrainData
from lifeloop.models import arrays as ar
from lifeloop.models.data import part_of
from lifeloop.models.retrieve.ease import places
from lifeloop.models.retrieve.fold import Folded, fold, weight_unit
from lifeloop.models.retrieve.itemknn import used_by
from lifeloop.models.retrieve.topk import retrieve


@dataclass(frozen=True, slots=True)
class Als:
    """Implicit-feedback factors of the items that anybody used.

    Parameters
    ----------
    factors : int
        Width of x and y.
    alpha : float
        How much more an item used counts than one not used.
    ridge : float
        λ above.
    rounds : int
        Alternations.
    half_life_events : float or None
        How fast the history fades in the request, see ``fold``.
    """

    factors: int = 64
    alpha: float = 10.0
    ridge: float = 10.0
    rounds: int = 12
    half_life_events: float | None = None
    name: str = "als"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedAls":
        """Alternate; the start is random, the rest is not."""
        people = used_by(data)  # [U, I]
        covered = np.flatnonzero(np.bincount(people.indices, minlength=data.n_items))
        seed = int(rng.integers(2**31))
        vectors = np.zeros((len(covered), self.factors), np.float32)
        if covered.size:
            from implicit.als import AlternatingLeastSquares
            from scipy.sparse import csr_matrix

            # implicit warns where BLAS would run more than one thread: also when it is built.
            with threadpool_limits(1, "blas"):
                model = AlternatingLeastSquares(
                    factors=self.factors,
                    alpha=1.0 + self.alpha,
                    regularization=self.ridge,
                    iterations=self.rounds,
                    random_state=seed,
                    num_threads=2,
                )
                model.fit(csr_matrix(people[:, covered]), show_progress=False)
            vectors = np.asarray(model.item_factors, dtype=np.float32)
        return FittedAls(
            name=self.name,
            covered=covered.astype(np.int32),
            place=places(covered, data.n_items),
            vectors=vectors,
            gram=(vectors.T @ vectors).astype(np.float64) + self.ridge * np.eye(self.factors),
            alpha=self.alpha,
            weight_unit=weight_unit(data.weight),
            half_life_events=self.half_life_events,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedAls:
    """Item factors; no row about any person."""

    name: str
    covered: Int  # [n] item indices, ascending
    place: Int  # [I] row of vectors, -1 where not covered
    vectors: Float  # [n, d] Y
    gram: Double  # [d, d] YᵀY + λI
    alpha: float
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
        scores = np.full((len(queries), self.n_items), -np.inf, dtype=np.float32)
        for b in range(len(queries)):
            item_ix, row = self.row(queries, b)
            scores[b, item_ix] = row
        return scores

    def row(self, queries: Queries, b: int) -> tuple[Int, Float]:
        """Return the items with a score for query b (all covered, or none), and the scores."""
        known, weight, _, solved = self._solved(part_of(queries, b, b + 1))
        if not len(known):
            return np.empty(0, np.int32), np.empty(0, np.float32)
        x = (solved @ weight).astype(np.float32)  # [d]
        # einsum and not BLAS: one answer whatever the threads
        return self.covered, np.einsum("nd,d->n", self.vectors, x)

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best allowed items."""
        return retrieve(self, queries, k=k, allowed=allowed, n_items=self.n_items, personal=True)

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return (1 + α) w_h · y_hᵀ A⁻¹ y_item at the credited event of each h; the bias is 0."""
        return np.asarray(self.traces(queries, b, np.array([item_ix], dtype=np.int32))[0])

    def traces(self, queries: Queries, b: int, item_ix: Int) -> Double:
        """Return the contributions [m, n+1] to m items at once."""
        one = part_of(queries, b, b + 1)
        amounts = np.zeros((len(item_ix), len(one.item_ix) + 1))
        known, weight, event, solved = self._solved(one)
        scored = np.flatnonzero(self.place[item_ix] >= 0)
        if len(known) and len(scored):
            target = self.vectors[self.place[item_ix[scored]]].astype(np.float64)  # [m, d]
            amounts[np.ix_(scored, event)] = target @ (solved * weight)  # [m, h]
        return amounts

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "name": ar.text(self.name),
            "covered": self.covered,
            "vectors": self.vectors,
            "gram": self.gram,
            "alpha": ar.number(self.alpha),
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
            vectors=ar.needed(arrays, "vectors"),
            gram=ar.needed(arrays, "gram"),
            alpha=ar.read_number(arrays, "alpha"),
            weight_unit=ar.read_number(arrays, "weight_unit"),
            half_life_events=ar.read_optional(arrays, "half_life_events"),
        )

    def _solved(self, one: Queries) -> tuple[Int, Double, NDArray[np.int64], Double]:
        """Return covered history items, (1 + α) w_h, credited events and A⁻¹ y_h [d, h]."""
        item, weight, event = self._folded(one).row(0)
        inside = self.place[item] >= 0
        item, weight, event = item[inside], weight[inside], event[inside]
        own = self.vectors[self.place[item]].astype(np.float64)  # [h, d]
        if not len(item):
            return item, weight, event, own.T
        a = self.gram + np.einsum("h,hd,he->de", self.alpha * weight, own, own, optimize=True)
        solved = solve(a, own.T, assume_a="pos", check_finite=False)  # [d, h]
        return item, (1.0 + self.alpha) * weight, event, np.asarray(solved)

    def _folded(self, queries: Queries) -> Folded:
        return fold(
            queries,
            n_items=self.n_items,
            weight_unit=self.weight_unit,
            half_life_events=self.half_life_events,
        )
