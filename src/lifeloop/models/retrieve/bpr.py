"""Factors of items learned from pairs: what a person used before what they did not.

Training is implicit's BPR: maximise Σ ln σ(x_u · (y_i − y_j)) − λ(‖x‖² + ‖y‖²) over people u, items
i they used and j they did not (rendle2009, equation 4 and section 4.3.1; item biases are part of
y). Only Y is kept. A request solves its own x against the mean item ȳ of the catalogue:

    x = argmin −Σ_h w_h ln σ(x · (y_h − ȳ)) + λ/2 ‖x‖²,      score_i = x · (y_i − ȳ)

by Newton's method. At the optimum λx = Σ_h c_h (y_h − ȳ), c_h = w_h σ(−x · (y_h − ȳ)), so the
score is a sum over the history and each event has its exact share.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from threadpoolctl import threadpool_limits

from lifeloop.contracts import Bool, Candidates, Double, Float, Int, Long, Queries, TrainData
from lifeloop.models import arrays as ar
from lifeloop.models.data import part_of
from lifeloop.models.retrieve.ease import places
from lifeloop.models.retrieve.fold import fold, weight_unit
from lifeloop.models.retrieve.itemknn import used_by
from lifeloop.models.retrieve.topk import retrieve

NEWTON = 12
"""Steps at most; four suffice for most histories."""
NEAR = 1e-9


@dataclass(frozen=True, slots=True)
class Bpr:
    """Pairwise factors of the items that anybody used.

    Parameters
    ----------
    factors : int
        Width of x and y, the item's bias not counted.
    rate, ridge : float
        Step size and λ of the training.
    rounds : int
        Passes over the events.
    fold_ridge : float
        λ of the request.
    half_life_events : float or None
        How fast the history fades in the request, see ``fold``.
    """

    factors: int = 64
    rate: float = 0.05
    ridge: float = 0.01
    rounds: int = 100
    fold_ridge: float = 1.0
    half_life_events: float | None = None
    name: str = "bpr"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedBpr":
        """Descend; one thread, so that the same seed gives the same factors."""
        people = used_by(data)  # [U, I]
        covered = np.flatnonzero(np.bincount(people.indices, minlength=data.n_items))
        seed = int(rng.integers(2**31))
        vectors = np.zeros((len(covered), self.factors + 1), np.float32)
        if covered.size > 1:
            from implicit.cpu.bpr import BayesianPersonalizedRanking
            from scipy.sparse import csr_matrix

            with threadpool_limits(1, "blas"):
                model = BayesianPersonalizedRanking(
                    factors=self.factors,
                    learning_rate=self.rate,
                    regularization=self.ridge,
                    iterations=self.rounds,
                    num_threads=1,
                    random_state=seed,
                )
                model.fit(csr_matrix(people[:, covered]), show_progress=False)
            vectors = np.asarray(model.item_factors, dtype=np.float32)
            vectors = np.where(np.isfinite(vectors), vectors, np.float32(0.0))
        middle = vectors.mean(axis=0, dtype=np.float64) if len(vectors) else np.zeros(1)
        return FittedBpr(
            name=self.name,
            covered=covered.astype(np.int32),
            place=places(covered, data.n_items),
            vectors=(vectors - middle[: vectors.shape[1]]).astype(np.float32),
            ridge=self.fold_ridge,
            weight_unit=weight_unit(data.weight),
            half_life_events=self.half_life_events,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedBpr:
    """Item factors less their mean; no row about any person."""

    name: str
    covered: Int  # [n] item indices, ascending
    place: Int  # [I] row of vectors, -1 where not covered
    vectors: Float  # [n, d] y − ȳ
    ridge: float
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
        """Return [B, I]; -inf for items nobody used and for people without covered items."""
        scores = np.full((len(queries), self.n_items), -np.inf, dtype=np.float32)
        for b in range(len(queries)):
            own, amount, _ = self._solved(part_of(queries, b, b + 1))
            if len(own):
                x = np.einsum("h,hd->d", amount, own)
                scores[b, self.covered] = np.einsum("nd,d->n", self.vectors, x.astype(np.float32))
        return scores

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best allowed items."""
        return retrieve(self, queries, k=k, allowed=allowed, n_items=self.n_items, personal=True)

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return c_h (y_h − ȳ) · (y_item − ȳ) / λ at the credited event of each h; no bias."""
        return np.asarray(self.traces(queries, b, np.array([item_ix], dtype=np.int32))[0])

    def traces(self, queries: Queries, b: int, item_ix: Int) -> Double:
        """Return the contributions [m, n+1] to m items at once."""
        one = part_of(queries, b, b + 1)
        amounts = np.zeros((len(item_ix), len(one.item_ix) + 1))
        own, amount, event = self._solved(one)
        scored = np.flatnonzero(self.place[item_ix] >= 0)
        if len(own) and len(scored):
            target = self.vectors[self.place[item_ix[scored]]].astype(np.float64)  # [m, d]
            amounts[np.ix_(scored, event)] = (target @ own.T) * amount  # [m, h]
        return amounts

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "name": ar.text(self.name),
            "covered": self.covered,
            "vectors": self.vectors,
            "n_items": np.array([self.n_items], dtype=np.int64),
            "ridge": ar.number(self.ridge),
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
            ridge=ar.read_number(arrays, "ridge"),
            weight_unit=ar.read_number(arrays, "weight_unit"),
            half_life_events=ar.read_optional(arrays, "half_life_events"),
        )

    def _solved(self, one: Queries) -> tuple[Double, Double, Long]:
        """Return y_h − ȳ [h, d], c_h / λ [h] and the credited events [h]."""
        folded = fold(
            one,
            n_items=self.n_items,
            weight_unit=self.weight_unit,
            half_life_events=self.half_life_events,
        )
        item, weight, event = folded.row(0)
        inside = self.place[item] >= 0
        item, weight, event = item[inside], weight[inside], event[inside]
        own = self.vectors[self.place[item]].astype(np.float64)  # [h, d]
        if not len(own):
            return own, weight, event
        x = np.zeros(own.shape[1])
        eye = np.eye(own.shape[1])
        for _ in range(NEWTON):
            p = 1.0 / (1.0 + np.exp(np.clip(own @ x, -50, 50)))  # σ(−x · y)
            gradient = self.ridge * x - own.T @ (weight * p)
            curvature = self.ridge * eye + (own.T * (weight * p * (1.0 - p))) @ own
            step = solve(curvature, gradient, assume_a="pos", check_finite=False)
            x = x - step
            if float(np.abs(step).max()) < NEAR:
                break
        p = 1.0 / (1.0 + np.exp(np.clip(own @ x, -50, 50)))
        return own, weight * p / self.ridge, event
