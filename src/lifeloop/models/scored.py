"""The answer to some queries before anything is chosen: what every part says, and the sum.

A part says something about the items it can score and no more, so what it said is kept as those
items and their scores (``Said``); a request over a large catalogue costs what is said, not parts
times items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lifeloop.contracts import Bool, Candidates, Double, FittedRetriever, Float, Int, Long, Queries
from lifeloop.models.context import FittedContext, shifted
from lifeloop.models.data import part_of
from lifeloop.models.retrieve.asked import AskedFor
from lifeloop.models.retrieve.topk import (
    NO_HISTORY,
    NOTHING_ALLOWED,
    best,
    has_evidence,
    has_history,
    listed,
)

DEPTH = 1000
"""How far down each part's list reciprocal ranks count."""


class Said(NamedTuple):
    """What one part adds for one query: ``score · unit`` of the items, ``unit_fresh`` if fresh."""

    item_ix: Int | None  # [m] ascending; None: every item
    score: Float  # [m] or [I], finite
    unit: float
    unit_fresh: float

    def term(self, item_ix: Int, is_fresh: Bool) -> Double:
        """Return [n]: what the part adds to the scores of n items; 0 where it says nothing."""
        unit = np.where(is_fresh[item_ix], self.unit_fresh, self.unit)  # [n]
        if self.item_ix is None:
            return np.asarray(self.score[item_ix] * unit)
        if not len(self.item_ix):
            return np.zeros(len(item_ix))
        place = np.minimum(np.searchsorted(self.item_ix, item_ix), len(self.item_ix) - 1)
        return np.where(self.item_ix[place] == item_ix, self.score[place] * unit, 0.0)

    def tells(self, item_ix: Int) -> Bool:
        """Return [n], True for the items that this was said of."""
        if self.item_ix is None:
            return np.ones(len(item_ix), np.bool_)
        if not len(self.item_ix):
            return np.zeros(len(item_ix), np.bool_)
        place = np.minimum(np.searchsorted(self.item_ix, item_ix), len(self.item_ix) - 1)
        return np.asarray(self.item_ix[place] == item_ix)


Part = FittedRetriever | AskedFor | FittedContext


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What all parts said to B queries. One of these serves a whole request: the list, the
    source of each item, and its reasons."""

    queries: Queries
    parts: tuple[Part, ...]  # then what was asked for and the context, where they say anything
    said: tuple[tuple[Said | None, ...], ...]  # [B][P]; None: a part without any weight
    linear: bool
    is_fresh: Bool  # [I]
    total: Float  # [B, I]; -inf where no part can say anything

    def retrieve(self, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best k allowed items; the reason is ``no_history`` for a fallback slate."""
        found = listed(self.total, self.queries, k=k, allowed=allowed, personal=True)
        return named(found, self.queries)

    def by_part(self, b: int, item_ix: Int) -> Double:
        """Return [P, m]: what each part adds to the scores of m items; columns sum to them."""
        return np.array(
            [
                np.zeros(len(item_ix)) if said is None else said.term(item_ix, self.is_fresh)
                for said in self.said[b]
            ]
        )

    def sources(self, b: int, item_ix: Int) -> tuple[str, ...]:
        """Return for each of m items the part that adds most (the earlier part where equal)."""
        return tuple(self.parts[p].name for p in self.by_part(b, item_ix).argmax(axis=0))

    def contributions(self, b: int, item_ix: int) -> Double:
        """Return one amount per history event of query b plus the bias, summing to the score."""
        return np.asarray(self.amounts(b, item_ix).sum(axis=0))

    def amounts(self, b: int, item_ix: int) -> Double:
        """Return [P, n+1]: the contributions of query b's n events and the bias, per part."""
        return np.asarray(self.traces(b, np.array([item_ix], dtype=np.int32))[:, 0])

    def traces(self, b: int, item_ix: Int) -> Double:
        """Return [P, m, n+1]: what ``amounts`` says, for m items at once (a whole slate)."""
        width = int(self.queries.indptr[b + 1] - self.queries.indptr[b]) + 1
        amounts = np.zeros((len(self.parts), len(item_ix), width))
        fresh = self.is_fresh[item_ix]  # [m]
        for p, (part, said) in enumerate(zip(self.parts, self.said[b], strict=True)):
            if said is None or not (said.unit > 0 or (said.unit_fresh > 0 and fresh.any())):
                continue  # a part without weight adds nothing: do not ask it
            if isinstance(part, FittedContext | AskedFor):
                amounts[p, :, -1] = said.term(item_ix, self.is_fresh)
                continue
            own = traces_of(part, self.queries, b, item_ix)  # [m, n+1]
            if self.linear:
                # of an item that an index left out the part said nothing, whatever it could say
                unit = np.where(fresh, said.unit_fresh, said.unit) * said.tells(item_ix)
                amounts[p] = own * unit[:, None]
            else:
                amounts[p] = _shared(own, said.term(item_ix, self.is_fresh))
        return amounts


def answer(
    parts: Sequence[FittedRetriever],
    weights: Double,
    fresh: Double,
    *,
    queries: Queries,
    is_fresh: Bool,
    linear: bool,
    words: AskedFor | None = None,
    context: FittedContext | None = None,
) -> Scored:
    """Ask every part once and add up what they say; ``weights`` and ``fresh`` are [P, B].

    Where a person with a history asks for something, ``words`` adds what is near it; where the
    queries say in what situation they are asked, ``context`` moves the sum.
    """
    asking = _asking(queries) if words is not None else np.zeros(len(queries), np.bool_)
    situation = None if context is None else queries.situation
    n_items, new = len(is_fresh), np.flatnonzero(is_fresh)
    any_fresh = bool(new.size)
    total = np.zeros((len(queries), n_items), dtype=np.float32)
    every = []
    for b in range(len(queries)):
        told: list[Said | None] = []
        known: Bool | None = np.zeros(n_items, dtype=np.bool_)  # None: all of them
        for p, part in enumerate(parts):
            weight, weight_fresh = float(weights[p, b]), float(fresh[p, b])
            if not (weight > 0 or (any_fresh and weight_fresh > 0)):
                told.append(None)
                continue
            item_ix, score = _ranks(part, queries, b) if not linear else row_of(part, queries, b)
            spread = spread_of(part, queries, b, score, n_items) if linear else 1.0
            said = Said(item_ix, score, weight / spread, weight_fresh / spread)
            told.append(said)
            known = _add(said, total[b], known, is_fresh=is_fresh, new=new)
        if known is not None:
            np.copyto(total[b], -np.inf, where=~known)
        if words is not None and asking.any():
            told.append(_near(words, total[b], queries, b) if asking[b] else None)
        if context is not None and situation is not None:
            gain = context.gain(situation[b])
            moved = None if gain is None else shifted(total[b], gain)
            told.append(None if moved is None else Said(None, moved, 1.0, 1.0))
            if moved is not None:
                total[b] += moved
        every.append(tuple(told))
    more: list[Part] = [words] if words is not None and asking.any() else []
    more += [context] if context is not None and situation is not None else []
    return Scored(queries, (*parts, *more), tuple(every), linear, is_fresh, total)


def _asking(queries: Queries) -> Bool:
    """Return [B], True for people with a history who ask for something in words."""
    if queries.mask is None:
        return np.zeros(len(queries), np.bool_)
    return np.asarray(queries.mask & has_history(queries))


def _near(words: AskedFor, total: Float, queries: Queries, b: int) -> Said:
    """Add to ``total`` [I], in place, what is near the words; return what was added."""
    item_ix, score = words.row(queries, b)
    unit = words.unit(total, score)
    where: slice | Int = slice(None) if item_ix is None else item_ix
    held = total[where]
    total[where] = np.where(held > -np.inf, held, np.float32(0.0)) + score * np.float32(unit)
    return Said(item_ix, score, unit, unit)


def rms(scores: Float, n_items: int) -> float:
    """Return √(Σ s² / n_items), s the scores said (what is not said counts as 0); 1 if all 0."""
    # pairwise float32 sums: as exact as needed here, and half the time of float64
    size = float(np.sqrt(float(np.square(scores).sum()) / max(1, n_items)))
    return size if size > 0 else 1.0


def spread_of(part: FittedRetriever, queries: Queries, b: int, score: Float, n_items: int) -> float:
    """Return the root mean square of a part's scores; of all, also where it told the best only."""
    whole = getattr(part, "spread", None)
    told = None if whole is None else whole(queries, b)
    if told is None:
        return rms(score, n_items)
    return float(told) if told > 0 else 1.0


def named(found: Candidates, queries: Queries) -> Candidates:
    """Say ``no_history`` of every slate made without evidence, also where it is full."""
    evidence = has_evidence(queries)
    reason = tuple(
        why if evidence[b] or why == NOTHING_ALLOWED else NO_HISTORY
        for b, why in enumerate(found.reason)
    )
    return Candidates(found.item_ix, found.score, reason)


def _add(said: Said, total: Float, known: Bool | None, *, is_fresh: Bool, new: Long) -> Bool | None:
    """Add what one part said to ``total`` [I], in place; return what is known by now.

    ``new`` are the places where ``is_fresh``.
    """
    item_ix, score, unit, unit_fresh = said
    at: Long | None = None
    if item_ix is not None:
        at = item_ix.astype(np.intp)  # what indexing wants: half the time of int32
        if 2 * len(at) < len(total):
            factor: np.float32 | Float = np.float32(unit)
            if new.size and unit != unit_fresh:
                factor = np.where(is_fresh[at], np.float32(unit_fresh), np.float32(unit))
            total[at] += score * factor
            if known is not None:
                known[at[np.broadcast_to(factor, at.shape) > 0]] = True
            return known
        # a column of all items, 0 where nothing is said, is faster than so many places
        score = np.zeros(len(total), np.float32)
        score[at] = said.score
    if unit > 0:
        amount = score * np.float32(unit)
        amount[new] = score[new] * np.float32(unit_fresh)
        total += amount
    elif new.size:
        total[new] += score[new] * np.float32(unit_fresh)
    if known is not None and at is not None:
        here = np.zeros(len(total), np.bool_)
        here[at] = True
        known |= here & np.where(is_fresh, unit_fresh > 0, unit > 0)
        return known
    if known is None or (unit > 0 and (unit_fresh > 0 or not new.size)):
        return None
    if unit > 0:
        was = known[new]
        known[:] = True
        known[new] = was
    else:
        known[new] |= unit_fresh > 0
    return known


def row_of(part: FittedRetriever, queries: Queries, b: int) -> tuple[Int | None, Float]:
    """Return the items that the part can score (None: all) and their scores."""
    row = getattr(part, "row", None)
    if row is not None:
        item_ix, score = row(queries, b)
        return item_ix, score
    whole = part.score(part_of(queries, b, b + 1))[0]
    item_ix = np.flatnonzero(whole > -np.inf).astype(np.int32)
    return (None, whole) if len(item_ix) == len(whole) else (item_ix, whole[item_ix])


def _ranks(part: FittedRetriever, queries: Queries, b: int) -> tuple[Int, Float]:
    """Return the ``DEPTH`` best items of the part and 1 / (60 + rank)."""
    top = best(part.score(part_of(queries, b, b + 1))[0], DEPTH)
    order = np.argsort(top)
    terms = 1.0 / (60.0 + np.arange(1, len(top) + 1))
    return top[order], terms[order].astype(np.float32)


def traces_of(part: FittedRetriever, queries: Queries, b: int, item_ix: Int) -> Double:
    """Return [m, n+1]: what each event of query b, and the bias, adds to m items of one part."""
    many = getattr(part, "traces", None)
    if many is not None:
        return np.asarray(many(queries, b, item_ix), dtype=np.float64)
    rows = [part.contributions(queries, b, int(item)) for item in item_ix]
    width = int(queries.indptr[b + 1] - queries.indptr[b]) + 1
    return np.asarray(rows, dtype=np.float64).reshape(len(item_ix), width)


def _shared(own: Double, term: Double) -> Double:
    """Share a term [m] among the amounts [m, n+1] in proportion; all bias where they cancel."""
    sums = own.sum(axis=1)
    divisible = sums > 1e-9
    whole = np.zeros_like(own)
    whole[:, -1] = term
    return np.where(
        divisible[:, None], own * (term / np.where(divisible, sums, 1.0))[:, None], whole
    )
