"""What a person buys again, and when: the chance that an item used before is used next time.

A visit is all events of one moment. For an item i that a person used at n of v visits since the
first use (this one included), last e days ago, the chance that the next visit holds it is looked
up in a table learned by replay of earlier visits:

    p(n, n/v, e/g) = (hits + s·p̄) / (asked + s),   g = the days between two uses,

with g the person's own mean gap drawn towards the median gap of the item by one gap's worth. The
cells are the crossed buckets of the three; p̄ is the mean over the crossed buckets of the first
two, then over all. It is a hazard of repeat purchase estimated by counting, in the spirit of
H. Hu, X. He, "Sets2Sets", KDD 2019 and H. Hu et al., "Modeling personalized item frequency
information for next-basket recommendation", SIGIR 2020, which show that frequency and recency
carry most of what is known of the next basket. An item's score is shared among its events.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import (
    UNTIMED,
    Bool,
    Candidates,
    Double,
    Float,
    Int,
    Long,
    Queries,
    TrainData,
)
from lifeloop.errors import InputError
from lifeloop.models import arrays as ar
from lifeloop.models.data import DAY_US, part_of
from lifeloop.models.retrieve.topk import retrieve

TIMES = np.array([1.5, 2.5, 3.5, 5.5, 8.5, 14.5, 30.5])
SHARE = np.array([0.02, 0.05, 0.1, 0.18, 0.3, 0.5, 0.75])
DUE = np.array([0.1, 0.25, 0.5, 0.8, 1.2, 1.8, 3.0, 6.0])
"""Edges of the buckets of n, n/v and e/g."""
SHAPE = (len(TIMES) + 1, len(SHARE) + 1, len(DUE) + 1)
STRENGTH = 25.0
"""s above, in times asked."""


@dataclass(frozen=True, slots=True)
class Replenish:
    """Chances of use again, learned from the last ``visits`` visits of every person.

    Parameters
    ----------
    visits : int
        Visits of each person that are replayed, each with what was known before it.
    """

    visits: int = 5
    name: str = "replenish"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedReplenish":
        """Replay and count; nothing random."""
        timed = (data.t_us != UNTIMED) & (data.weight > 0)
        user, item = data.user_ix[timed].astype(np.int64), data.item_ix[timed].astype(np.int64)
        day = data.t_us[timed] / DAY_US
        gap, usual = _gaps(user, item, day, n_items=data.n_items)
        asked, hits = np.zeros(SHAPE), np.zeros(SHAPE)
        bounds = np.searchsorted(user, np.arange(data.n_users + 1))
        for lo, hi in pairwise(bounds.tolist()):
            moments = np.unique(day[lo:hi])
            for moment in moments[1:][-self.visits :]:
                known = lo + int(np.searchsorted(day[lo:hi], moment))
                stop = lo + int(np.searchsorted(day[lo:hi], moment, side="right"))
                owned, cell = _cells(item[lo:known], moment - day[lo:known], gap)
                np.add.at(asked, cell, 1.0)
                bought = np.isin(owned, item[known:stop])
                np.add.at(hits, tuple(axis[bought] for axis in cell), 1.0)
        return FittedReplenish(
            name=self.name,
            chance=_smoothed(asked, hits),
            gap=gap,
            usual_gap=usual,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedReplenish:
    """The table of chances and the usual days between two uses of each item."""

    name: str
    chance: Double  # [n, n/v, e/g]
    gap: Float  # [I] days
    usual_gap: float

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.gap)

    def score(self, queries: Queries) -> Float:
        """Return [B, I]; -inf for items that the person has not used."""
        scores = np.full((len(queries), self.n_items), -np.inf, dtype=np.float32)
        for b in range(len(queries)):
            item_ix, row = self.row(queries, b)
            scores[b, item_ix] = row
        return scores

    def row(self, queries: Queries, b: int) -> tuple[Int, Float]:
        """Return the items used before and their chances."""
        past, age, _ = _aged(part_of(queries, b, b + 1), self.n_items)
        if not len(past):
            return np.empty(0, np.int32), np.empty(0, np.float32)
        owned, cell = _cells(past, age, self.gap)
        return owned.astype(np.int32), self.chance[cell].astype(np.float32)

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the allowed items most likely to be used again."""
        return retrieve(self, queries, k=k, allowed=allowed, n_items=self.n_items, personal=True)

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return the chance, shared equally among the item's events; the bias is 0."""
        one = part_of(queries, b, b + 1)
        amounts = np.zeros(len(one.item_ix) + 1)
        past, _, event = _aged(one, self.n_items)
        mine = event[past == item_ix]
        if len(mine):
            owned, score = self.row(one, 0)
            amounts[mine] = float(score[np.searchsorted(owned, item_ix)]) / len(mine)
        return amounts

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "name": ar.text(self.name),
            "chance": self.chance,
            "gap": self.gap,
            "usual_gap": ar.number(self.usual_gap),
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        return cls(
            name=ar.read_text(arrays, "name"),
            chance=ar.needed(arrays, "chance"),
            gap=ar.needed(arrays, "gap"),
            usual_gap=ar.read_number(arrays, "usual_gap"),
        )


def _aged(one: Queries, n_items: int) -> tuple[Long, Double, Long]:
    """Return items, ages in days and places of the events with evidence.

    Without any time every event is taken for a visit, a day after the one before it.
    """
    if one.item_ix.size and int(one.item_ix.max()) >= n_items:
        raise InputError(
            "a history holds an item the model does not know",
            got=int(one.item_ix.max()),
            allowed=f"indices below {n_items}",
            hint="leave items that are newer than the bundle out of the history",
        )
    kept = np.flatnonzero(one.weight > 0)
    age = one.age_days[kept].astype(np.float64)
    if len(kept) and np.isnan(age).all():
        age = np.arange(len(kept), 0.0, -1.0)
    timed = ~np.isnan(age)
    return one.item_ix[kept[timed]].astype(np.int64), age[timed], kept[timed]


def _cells(item: Long, age: Double, gap: Float) -> tuple[Long, tuple[Long, Long, Long]]:
    """Return the items used [m], ascending, and their cells in the table.

    Parameters
    ----------
    item, age : arrays [n]
        Events of one person, ages in days, in any order.
    """
    moments, visit = np.unique(age, return_inverse=True)  # youngest first
    pair = np.unique(item * len(moments) + visit)  # an item counts once a visit
    owned, first = np.unique(pair // max(1, len(moments)), return_index=True)
    end = np.concatenate([first[1:], [len(pair)]])
    n = end - first  # [m] visits with the item
    newest = moments[pair[first] % len(moments)]
    oldest_visit = pair[end - 1] % len(moments)
    since_first = oldest_visit + 1  # visits since the first use
    usual = gap[owned].astype(np.float64)
    # the person's own gaps, and one of the item's
    own = (moments[oldest_visit] - newest + usual) / n
    cell = (
        np.searchsorted(TIMES, n),
        np.searchsorted(SHARE, n / since_first),
        np.searchsorted(DUE, newest / np.maximum(own, 1e-3)),
    )
    return owned, cell


def _gaps(user: Long, item: Long, day: Double, *, n_items: int) -> tuple[Float, float]:
    """Return the median days between two uses by one person, per item and over all."""
    order = np.lexsort((day, item, user))
    user, item, day = user[order], item[order], day[order]
    again = (user[1:] == user[:-1]) & (item[1:] == item[:-1]) & (day[1:] > day[:-1])
    gaps, of = np.diff(day)[again], item[1:][again]
    usual = float(np.median(gaps)) if len(gaps) else 30.0
    found = np.full(n_items, usual)
    by_item = np.lexsort((gaps, of))
    gaps, of = gaps[by_item], of[by_item]
    known, start, n = np.unique(of, return_index=True, return_counts=True)
    # drawn towards the usual by five gaps
    found[known] = (gaps[start + n // 2] * n + usual * 5.0) / (n + 5.0)
    return found.astype(np.float32), usual


def _smoothed(asked: Double, hits: Double) -> Double:
    whole = hits.sum() / max(asked.sum(), 1.0)
    two = (hits.sum(axis=2) + STRENGTH * whole) / (asked.sum(axis=2) + STRENGTH)
    return np.asarray((hits + STRENGTH * two[:, :, None]) / (asked + STRENGTH))
