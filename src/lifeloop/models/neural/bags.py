"""Histories as bags of items, and examples with sampled negatives: what the classics learn from.

Letters used in shapes: U people, E examples, k negatives each, H items of the batch's histories.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Float, Int, Long, TrainData
from lifeloop.models.data import slices
from lifeloop.models.retrieve.fold import weight_unit


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Positives with negatives, and the whole histories of the people they are of."""

    item: Int  # [H] histories, person by person
    weight: Float  # [H]
    start: Long  # [B] where each person's begin
    owner: Long  # [E] place of the person
    positive: Int  # [E]
    own: Float  # [E] weight of the positive in its history
    left: Float  # [E] weight of the history without it, above 0
    rating: Float  # [E] NaN where absent
    negative: Int  # [E, k]
    fair: Bool  # [E, k] False: the person used it


@dataclass(frozen=True, slots=True, eq=False)
class Bags:
    """Distinct items of every person with the strongest weight, as in ``fold``."""

    indptr: Long  # [U+1]
    item: Int  # [n]
    weight: Float  # [n] of 1 at most
    rating: Float  # [n] the last one, NaN where absent
    n_items: int

    @classmethod
    def of(cls, data: TrainData) -> "Bags":
        """Return the bags of a training set."""
        key = data.user_ix.astype(np.int64) * max(1, data.n_items) + data.item_ix
        order = np.argsort(key, kind="stable")
        key = key[order]
        first = np.flatnonzero(np.diff(key, prepend=-1))
        weight = data.weight[order]
        strongest = np.maximum.reduceat(weight, first) if len(first) else weight
        last = np.append(first[1:], len(key)) - 1 if len(first) else first
        user = key[first] // max(1, data.n_items)
        return cls(
            indptr=np.searchsorted(user, np.arange(data.n_users + 1)).astype(np.int64),
            item=(key[first] % max(1, data.n_items)).astype(np.int32),
            weight=(strongest / weight_unit(data.weight)).astype(np.float32),
            rating=data.rating[order][last],
            n_items=data.n_items,
        )

    def examples(
        self, people: int, each: int, negatives: int, rng: np.random.Generator
    ) -> Iterator[Examples]:
        """Yield batches of so many people without end; at most ``each`` positives of a person.

        People with one item are left out: nothing is left of their history without it.
        """
        size = np.diff(self.indptr)
        able = np.flatnonzero(size > 1)
        if not len(able):
            return
        keys = np.repeat(np.arange(len(size)), size) * np.int64(self.n_items) + self.item
        while True:
            order = rng.permutation(able)
            for lo in range(0, len(order), people):
                yield self._batch(order[lo : lo + people], size, keys, each, negatives, rng)

    def _batch(
        self,
        users: Long,
        size: Long,
        keys: Long,
        each: int,
        negatives: int,
        rng: np.random.Generator,
    ) -> Examples:
        sizes = size[users]
        rows = slices(self.indptr[users], sizes)
        start = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        picked = np.minimum(sizes, each)
        owner = np.repeat(np.arange(len(users)), picked)
        lots = rng.random(len(rows))
        by_lot = np.lexsort((lots, np.repeat(np.arange(len(users)), sizes)))
        within = slices(start, picked)
        at = rows[by_lot[within]]
        whole = np.add.reduceat(self.weight[rows], start)
        drawn = rng.integers(self.n_items, size=(len(at), negatives))
        asked: NDArray[np.int64] = users[owner][:, None] * np.int64(self.n_items) + drawn
        place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        return Examples(
            item=self.item[rows],
            weight=self.weight[rows],
            start=start,
            owner=owner,
            positive=self.item[at],
            own=self.weight[at],
            left=np.maximum(whole[owner] - self.weight[at], 1e-6).astype(np.float32),
            rating=self.rating[at],
            negative=drawn.astype(np.int32),
            fair=np.asarray(keys[place] != asked),
        )
