"""Which items are ranked: the best of every part, and of the blend.

Letters used in shapes: P parts, I items, C candidates of one query, B queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from lifeloop.contracts import Bool, Double, FittedRetriever, Float, Int, Queries
from lifeloop.models.blended import FittedBlend
from lifeloop.models.retrieve.topk import best
from lifeloop.models.scored import rms

DEPTH = 40
"""Candidates taken from every part; the blend gives twice as many."""
MOST = 150
"""Candidates of one request at most."""
RANKED = 200
"""How far down a list places are told apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """What the parts, and the blend of them, say to one query. The blend is the last row."""

    scores: Float  # [P+1, I]; -inf where nothing is said, and for items that may not come back
    peak: Double  # [P+1] highest score
    tops: Float  # [P+1, min(RANKED, I)] the highest scores, ascending
    weights: Double  # [P] of the blend
    fresh: Double  # [P] of the blend, for items that nobody has used
    is_fresh: Bool  # [I]

    @classmethod
    def of(cls, raw: Float, queries: Queries, b: int, *, blend: FittedBlend, repeats: bool) -> Self:
        """Return the lists of query b from the parts' scores [P, I] in units of their rms."""
        scores = np.empty((len(raw) + 1, raw.shape[1]), np.float32)
        scores[:-1] = raw
        scores[-1] = _blended(raw, blend)
        if not repeats:
            scores[:, queries.item_ix[queries.indptr[b] : queries.indptr[b + 1]]] = -np.inf
        n = min(RANKED, scores.shape[1])
        tops = np.sort(np.partition(scores, scores.shape[1] - n, axis=1)[:, scores.shape[1] - n :])
        peak = tops[:, -1].astype(np.float64) if n else np.zeros(len(scores))
        return cls(scores, peak, tops, blend.weights, blend.fresh, blend.is_fresh)

    @property
    def total(self) -> Float:
        """What the blend says [I]."""
        return np.asarray(self.scores[-1])

    def places(self, item_ix: Int) -> Double:
        """Return [P+1, C]: how many items each list puts before, at most ``RANKED``."""
        asked = self.scores[:, item_ix]
        width = self.tops.shape[1]
        rows = zip(self.tops, asked, strict=True)
        return np.stack([width - np.searchsorted(top, own, side="right") for top, own in rows])

    def terms(self, item_ix: Int) -> Double:
        """Return [P, C]: what each part adds to the blend's score."""
        own = self.scores[:-1, item_ix].astype(np.float64)
        weights = np.where(self.is_fresh[item_ix], self.fresh[:, None], self.weights[:, None])
        return np.where(own > -np.inf, own, 0.0) * weights


def raw_scores(parts: Sequence[FittedRetriever], queries: Queries) -> Float:
    """Return [P, B, I] what every part says, in units of its rms over the catalogue."""
    rows = []
    for part in parts:
        own = part.score(queries)
        for row in own:
            row /= np.float32(rms(row[row > -np.inf], len(row)))
        rows.append(own)
    return np.stack(rows)


def gather(lists: Lists, *, allowed: Bool | None) -> Int:
    """Return the candidates [C ≤ MOST], ascending: the best places of any list come first."""
    never = np.iinfo(np.int32).max
    place = np.full(lists.scores.shape[1], never, dtype=np.int32)
    for p, row in enumerate(lists.scores):
        top = best(row, DEPTH if p < len(lists.scores) - 1 else 2 * DEPTH, allowed=allowed)
        place[top] = np.minimum(place[top], np.arange(len(top), dtype=np.int32))
    found = np.flatnonzero(place < never)
    if len(found) > MOST:
        found = np.sort(found[np.argsort(place[found], kind="stable")[:MOST]])
    return found.astype(np.int32)


def _blended(raw: Float, blend: FittedBlend) -> Float:
    """Return [I] the linear blend of parts [P, I]; -inf where no part with a weight speaks."""
    total = np.zeros(raw.shape[1], np.float32)
    known = np.zeros(raw.shape[1], np.bool_)
    new = np.flatnonzero(blend.is_fresh)
    for row, weight, fresh in zip(raw, blend.weights, blend.fresh, strict=True):
        if weight <= 0 and (fresh <= 0 or not new.size):
            continue
        says = row > -np.inf
        own = np.where(says, row, np.float32(0.0))
        term = own * np.float32(weight)
        spoken = says & (weight > 0)
        if new.size:
            term[new] = own[new] * np.float32(fresh)
            spoken[new] = says[new] & (fresh > 0)
        total += term
        known |= spoken
    return np.where(known, total, np.float32(-np.inf))
