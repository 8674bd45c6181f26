"""Which items are ranked: the best of every part, and of the blend.

A part says something about some items and nothing about the rest, and is kept as that (``Row``): a
request over a large catalogue costs what is said, not parts times items.

Letters used in shapes: P parts, I items, C candidates of one query.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np

from lifeloop.contracts import Bool, Double, FittedRetriever, Float, Int, Long, Queries
from lifeloop.models.blended import FittedBlend
from lifeloop.models.data import part_of
from lifeloop.models.retrieve.content import FittedContent
from lifeloop.models.retrieve.topk import best
from lifeloop.models.scored import row_of, spread_of

DEPTH = 40
"""Candidates taken from every part; the blend gives twice as many."""
MOST = 150
"""Candidates of one request at most."""
RANKED = 200
"""How far down a list places are told apart."""


class Row(NamedTuple):
    """What one list says; -inf for items that may not come back."""

    item_ix: Int | None  # [m] ascending; None: every item
    score: Float  # [m] or [I]
    rest: Callable[[Int], Float] | None = None  # of items that an index of the nearest left out

    def at(self, item_ix: Int) -> Float:
        """Return [n] scores of n items, -inf where nothing is said."""
        if self.item_ix is None:
            return np.asarray(self.score[item_ix])
        place, held = _found(self.item_ix, item_ix)
        told = np.full(len(item_ix), -np.inf, np.float32)
        told[held] = self.score[place[held]]
        if self.rest is not None and not held.all():
            told[~held] = self.rest(item_ix[~held])
        return told

    def best(self, k: int, *, allowed: Bool | None, first: Int) -> Int:
        """Return at most k items of finite score that are allowed, best first.

        ``first`` are the places of the ``RANKED`` best: mostly enough of them are allowed.
        """
        top = first if self.item_ix is None else self.item_ix[first]
        kept = top if allowed is None else top[allowed[top]]
        if len(kept) >= k or len(first) < RANKED:
            return kept[:k]
        if self.item_ix is None:
            return best(self.score, k, allowed=allowed)
        may = None if allowed is None else allowed[self.item_ix]
        return np.asarray(self.item_ix[best(self.score, k, allowed=may)])

    def without(self, own: Int) -> "Row":
        """Return the same saying nothing of some items [h]."""
        score = self.score.copy()
        if self.item_ix is None:
            score[own] = -np.inf
        else:
            place, held = _found(self.item_ix, own)
            score[place[held]] = -np.inf
        return self._replace(score=score)


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """What the parts, and the blend of them, say to one query. The blend is the last row."""

    rows: tuple[Row, ...]  # [P+1]
    peak: Double  # [P+1] highest score
    first: tuple[Int, ...]  # [P+1] places in each row of the RANKED best, best first
    tops: tuple[Float, ...]  # [P+1] their scores, ascending
    weights: Double  # [P] of the blend
    fresh: Double  # [P] of the blend, for items that nobody has used
    is_fresh: Bool  # [I]
    _held: "list[tuple[Int, Float]]" = field(default_factory=list, repr=False)  # last ``scores``

    @classmethod
    def of(cls, queries: Queries, b: int, *, blend: FittedBlend, repeats: bool) -> Self:
        """Ask the parts of a blend; scores are in units of each part's rms over the catalogue."""
        one = part_of(queries, b, b + 1)
        raw = [_asked(part, one, blend.n_items) for part in blend.parts]
        rows = [*raw, Row(None, _blended(raw, blend))]
        if not repeats:
            rows = [row.without(one.item_ix) for row in rows]
        first = [best(row.score, RANKED) for row in rows]
        tops = [row.score[places[::-1]] for row, places in zip(rows, first, strict=True)]
        peak = [float(top[-1]) if len(top) else -np.inf for top in tops]
        return cls(
            rows=tuple(rows),
            peak=np.array(peak),
            first=tuple(first),
            tops=tuple(tops),
            weights=blend.weights,
            fresh=blend.fresh,
            is_fresh=blend.is_fresh,
        )

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.is_fresh)

    @property
    def total(self) -> Float:
        """What the blend says [I]."""
        return self.rows[-1].score

    def scores(self, item_ix: Int) -> Float:
        """Return [P+1, C]: what each list says of some items; -inf where it says nothing."""
        if self._held:
            known, told = self._held[0]
            place, held = _found(known, item_ix)
            if held.all():
                return told[:, place]
        told = np.stack([row.at(item_ix) for row in self.rows])
        if (item_ix[1:] > item_ix[:-1]).all():
            self._held[:] = [(item_ix, told)]
        return told

    def places(self, scores: Float) -> Long:
        """Return [P+1, C]: how many items each list puts before such scores, at most ``RANKED``."""
        pairs = zip(self.tops, scores, strict=True)
        return np.stack([len(top) - np.searchsorted(top, own, side="right") for top, own in pairs])

    def terms(self, item_ix: Int) -> Double:
        """Return [P, C]: what each part adds to the blend's score."""
        own = self.scores(item_ix)[:-1].astype(np.float64)
        weights = np.where(self.is_fresh[item_ix], self.fresh[:, None], self.weights[:, None])
        return np.where(own > -np.inf, own, 0.0) * weights


def gather(lists: Lists, *, allowed: Bool | None) -> Int:
    """Return the candidates [C ≤ MOST], ascending: the best places of any list come first."""
    depths = [*[DEPTH] * (len(lists.rows) - 1), 2 * DEPTH]
    tops = [
        row.best(depth, allowed=allowed, first=first)
        for row, depth, first in zip(lists.rows, depths, lists.first, strict=True)
    ]
    item = np.concatenate(tops)
    place = np.concatenate([np.arange(len(top)) for top in tops])
    order = np.lexsort((place, item))
    item, place = item[order], place[order]
    first = np.ones(len(item), np.bool_)
    first[1:] = item[1:] != item[:-1]
    found, place = item[first], place[first]  # [C] each item at its best place
    if len(found) > MOST:
        found = np.sort(found[np.argsort(place, kind="stable")[:MOST]])
    return found.astype(np.int32)


def _asked(part: FittedRetriever, one: Queries, n_items: int) -> Row:
    item_ix, score = row_of(part, one, 0)
    unit = np.float32(spread_of(part, one, 0, score, n_items))
    if isinstance(part, FittedContent) and part.near is not None:
        # the trees learned from scores of everything
        return Row(item_ix, score / unit, lambda items: part.exact(one, 0, items) / unit)
    return Row(item_ix, score / unit)


def _blended(rows: Sequence[Row], blend: FittedBlend) -> Float:
    """Return [I] the linear blend of what the parts say; -inf where none with a weight speaks."""
    total = np.zeros(blend.n_items, np.float32)
    known = np.zeros(blend.n_items, np.bool_)
    new = np.flatnonzero(blend.is_fresh)
    for row, weight, fresh in zip(rows, blend.weights, blend.fresh, strict=True):
        if weight <= 0 and (fresh <= 0 or not new.size):
            continue
        at = slice(None) if row.item_ix is None else row.item_ix.astype(np.intp)
        if new.size and weight != fresh:
            factor = np.where(blend.is_fresh[at], np.float32(fresh), np.float32(weight))
            total[at] += row.score * factor
            known[at] |= factor > 0
        else:
            total[at] += row.score * np.float32(weight)
            known[at] = True
    np.copyto(total, -np.inf, where=~known)
    return total


def _found(ascending: Int, item_ix: Int) -> tuple[Long, Bool]:
    """Return the place of each item in an ascending list, and whether it is there."""
    if not len(ascending):
        return np.zeros(len(item_ix), np.int64), np.zeros(len(item_ix), np.bool_)
    place = np.minimum(np.searchsorted(ascending, item_ix), len(ascending) - 1)
    return place, np.asarray(ascending[place] == item_ix)
