"""People who used the same, and what else they used: user-kNN with the history folded in.

With a person's history as weights w over items (see ``fold``), an earlier person v as the unit
vector r_v over theirs, and N the ``k`` people with the largest cosine,

    score_i = Σ_{v ∈ N} (w · r_v / ‖w‖) r_v,i

(P. Resnick et al., "GroupLens", CSCW 1994, and J. Herlocker et al., SIGIR 1999, for events instead
of ratings). It is a sum over the history, so each event has its exact share.

The model holds histories of earlier people, without names or times and in an order of their own.
That is more about people than any other model here keeps: it is fitted only where it is named.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lifeloop.contracts import Bool, Candidates, Double, Float, Int, Long, Queries, TrainData
from lifeloop.models import arrays as ar
from lifeloop.models.data import part_of
from lifeloop.models.retrieve.fold import fold, weight_unit
from lifeloop.models.retrieve.itemknn import used_by
from lifeloop.models.retrieve.topk import retrieve


@dataclass(frozen=True, slots=True)
class UserKNN:
    """Nearest earlier people.

    Parameters
    ----------
    k : int
        People that are asked.
    people : int
        People kept at most, drawn at random: memory and time of a request grow with them.
    idf : bool
        Whether items that everyone used count less: weight ln(1 + U / n_i) on both sides of the
        cosine.
    half_life_events : float or None
        How fast the history fades, see ``fold``.
    """

    k: int = 100
    people: int = 20_000
    idf: bool = True
    half_life_events: float | None = None
    name: str = "userknn"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedUserKNN":
        """Keep unit vectors of people in random order."""
        used = used_by(data)  # [U, I]
        order = rng.permutation(data.n_users)[: self.people]
        used = used[order] if data.n_users else used
        count = np.asarray(used.sum(axis=0)).reshape(-1)  # [I]
        rarity = np.ones(data.n_items, dtype=np.float32)
        if self.idf:
            rarity = np.log1p(used.shape[0] / np.maximum(count, 1.0)).astype(np.float32)
        told = sparse.csr_array(used.multiply(rarity[None, :]).tocsr())
        size = np.sqrt(np.asarray(told.multiply(told).sum(axis=1)).reshape(-1))
        size = np.where(size > 0, size, 1.0)
        told.data /= np.repeat(size, np.diff(told.indptr)).astype(np.float32)
        return FittedUserKNN(
            name=self.name,
            indptr=told.indptr.astype(np.int64),
            item_ix=told.indices.astype(np.int32),
            share=told.data.astype(np.float32),
            rarity=rarity,
            k=self.k,
            weight_unit=weight_unit(data.weight),
            half_life_events=self.half_life_events,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedUserKNN:
    """Unit vectors of earlier people, in both directions."""

    name: str
    indptr: Long  # [U+1] per person
    item_ix: Int  # [E]
    share: Float  # [E] r_v,i
    rarity: Float  # [I]
    k: int
    weight_unit: float
    half_life_events: float | None

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.rarity)

    def at(self, half_life_events: float | None) -> Self:
        """Return the same model with another half-life of the history."""
        return replace(self, half_life_events=half_life_events)

    def score(self, queries: Queries) -> Float:
        """Return [B, I]; -inf for items that none of the nearest used."""
        scores = np.full((len(queries), self.n_items), -np.inf, dtype=np.float32)
        for b in range(len(queries)):
            near = self._near(part_of(queries, b, b + 1))
            if near is not None:
                people, cosine, _, _ = near
                rows = self._people[people]
                told = np.asarray(rows.T @ cosine, dtype=np.float32)
                scores[b] = np.where(told > 0, told, np.float32(-np.inf))
        return scores

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best allowed items."""
        return retrieve(self, queries, k=k, allowed=allowed, n_items=self.n_items, personal=True)

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return w_h Σ_v r_v,h r_v,item / ‖w‖ at the credited event of each h; the bias is 0."""
        return np.asarray(self.traces(queries, b, np.array([item_ix], dtype=np.int32))[0])

    def traces(self, queries: Queries, b: int, item_ix: Int) -> Double:
        """Return the contributions [m, n+1] to m items at once."""
        one = part_of(queries, b, b + 1)
        amounts = np.zeros((len(item_ix), len(one.item_ix) + 1))
        near = self._near(one)
        if near is None:
            return amounts
        people, _, direction, event = near
        rows = self._people[people].astype(np.float64)  # [k, I]
        item = self._folded(one)[0]
        by_history = rows[:, item].multiply(direction[None, :]).T.tocsr()  # [h, k]
        told = (by_history @ rows[:, item_ix]).toarray()  # [h, m]
        amounts[:, event] = told.T  # an item has one credited event
        return amounts

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "name": ar.text(self.name),
            "indptr": self.indptr,
            "item_ix": self.item_ix,
            "share": self.share,
            "rarity": self.rarity,
            "k": np.array([self.k], dtype=np.int64),
            "weight_unit": ar.number(self.weight_unit),
            "half_life_events": ar.number(self.half_life_events),
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        return cls(
            name=ar.read_text(arrays, "name"),
            indptr=ar.needed(arrays, "indptr"),
            item_ix=ar.needed(arrays, "item_ix"),
            share=ar.needed(arrays, "share"),
            rarity=ar.needed(arrays, "rarity"),
            k=int(ar.read_number(arrays, "k")),
            weight_unit=ar.read_number(arrays, "weight_unit"),
            half_life_events=ar.read_optional(arrays, "half_life_events"),
        )

    @property
    def _people(self) -> Any:
        shape = (len(self.indptr) - 1, self.n_items)
        return sparse.csr_array((self.share, self.item_ix, self.indptr), shape=shape)

    def _folded(self, one: Queries) -> tuple[Int, Double, Long]:
        folded = fold(
            one,
            n_items=self.n_items,
            weight_unit=self.weight_unit,
            half_life_events=self.half_life_events,
        )
        return folded.row(0)

    def _near(self, one: Queries) -> tuple[Long, Float, Double, Long] | None:
        """Return the nearest people, their cosines, w / ‖w‖ [h] and the credited events [h]."""
        item, weight, event = self._folded(one)
        if not len(item) or len(self.indptr) < 2:
            return None
        direction = weight * self.rarity[item]
        size = float(np.linalg.norm(direction))
        if not size:
            return None
        direction = direction / size
        dense = np.zeros(self.n_items, dtype=np.float32)
        dense[item] = direction
        cosine = np.asarray(self._people @ dense, dtype=np.float32)  # [U]
        near = np.flatnonzero(cosine > 0)
        if len(near) > self.k:
            # equal cosines go to the earlier row, whatever the order of a partition
            near = near[np.lexsort((near, -cosine[near]))[: self.k]]
            near = np.sort(near)
        return near, cosine[near], direction, event
