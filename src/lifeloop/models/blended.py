"""The fitted blend: every part scores the request once, and every amount can be traced.

Linear: score_i = Σ_p w_p · s_p,i / rms(s_p), rms over the catalogue of the request's own scores;
what a part cannot score counts as 0. Because each term is a part's score times a number of the
request, the amounts of the parts and of the history's events add up to the score.

Reciprocal rank: score_i = Σ_p w_p / (60 + rank_p,i) over the ``DEPTH`` best of each part (Cormack,
Clarke, Büttcher, SIGIR 2009); a part's term is shared among its events in proportion to its own
amounts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import (
    Bool,
    Candidates,
    Double,
    FittedRetriever,
    Float,
    Int,
    Queries,
)
from lifeloop.models import arrays as ar
from lifeloop.models.data import part_of
from lifeloop.models.retrieve.content import FittedContent
from lifeloop.models.retrieve.topk import (
    NO_HISTORY,
    NOTHING_ALLOWED,
    best,
    has_evidence,
    has_history,
    listed,
    retrieve,
)

Rule = Literal["linear", "rrf"]
DEPTH = 1000
"""How far down each part's list reciprocal ranks count."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The answer to B queries before anything is chosen: every part's term for every item.

    One of these serves a whole request: the list, the source of each item, and its reasons.
    """

    queries: Queries
    parts: tuple[FittedRetriever, ...]
    terms: Float  # [P, B, I] what each part adds
    unit: Double | None  # [P, B] term per unit of the part's own score; None for rrf
    unit_fresh: Double | None  # [P, B] the same for items that nobody has used
    is_fresh: Bool  # [I]
    total: Float  # [B, I]

    def retrieve(self, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best k allowed items; the reason is ``no_history`` for a fallback slate."""
        found = listed(self.total, self.queries, k=k, allowed=allowed, personal=True)
        return _named(found, self.queries)

    def by_part(self, b: int, item_ix: Int) -> Double:
        """Return [P, m]: what each part adds to the scores of m items; columns sum to them."""
        return self.terms[:, b, item_ix].astype(np.float64)

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
        if self.unit is not None and self.unit_fresh is not None:
            fresh = self.is_fresh[item_ix]  # [m]
            unit = np.where(fresh, self.unit_fresh[:, b, None], self.unit[:, b, None])  # [P, m]
            width = int(self.queries.indptr[b + 1] - self.queries.indptr[b]) + 1
            linear = np.zeros((len(self.parts), len(item_ix), width))
            for p, part in enumerate(self.parts):
                if unit[p].any():  # a part without weight adds nothing: do not ask it
                    linear[p] = _traces(part, self.queries, b, item_ix) * unit[p][:, None]
            return linear
        amounts = np.stack([_traces(part, self.queries, b, item_ix) for part in self.parts])
        term = self.by_part(b, item_ix)  # [P, m]
        own = amounts.sum(axis=2)  # [P, m]
        divisible = own > 1e-9
        shared = amounts * (term / np.where(divisible, own, 1.0))[:, :, None]
        whole = np.zeros_like(amounts)
        whole[:, :, -1] = term
        return np.where(divisible[:, :, None], shared, whole)


@dataclass(frozen=True, slots=True, eq=False)
class FittedBlend:
    """Parts, their weights and what was noted while they were learned."""

    name: str
    rule: Rule
    parts: tuple[FittedRetriever, ...]
    weights: Double  # [P] ≥ 0
    cold: Double  # [P] the same for people without any history
    fresh: Double  # [P] the same for items that nobody has used; see models.fresh
    is_fresh: Bool  # [I]
    notes: tuple[str, ...]
    n_items: int

    def scored(self, queries: Queries) -> Scored:
        """Score every item once, for everything that a request needs."""
        n_parts, n_queries = len(self.parts), len(queries)
        used = has_history(queries)
        weights = np.where(used, self.weights[:, None], self.cold[:, None])  # [P, B]
        fresh = np.where(used, self.fresh[:, None], self.cold[:, None])  # [P, B]
        new = np.flatnonzero(self.is_fresh)
        terms = np.empty((n_parts, n_queries, self.n_items), dtype=np.float32)
        linear = self.rule == "linear"
        unit, unit_fresh = np.zeros((n_parts, n_queries)), np.zeros((n_parts, n_queries))
        known = np.zeros((n_queries, self.n_items), dtype=np.bool_)
        for p, part in enumerate(self.parts):
            if not (weights[p].any() or (new.size and fresh[p].any())):
                terms[p] = 0.0
                continue
            own = part.score(queries)  # [B, I]
            if linear:
                finite = own > -np.inf
                own = np.where(finite, own, np.float32(0.0))
                spread = rms(own)
                unit[p], unit_fresh[p] = weights[p] / spread, fresh[p] / spread
                np.multiply(own, unit[p][:, None].astype(np.float32), out=terms[p])
                if weights[p].all():
                    known |= finite
                else:
                    known |= finite & (weights[p] > 0)[:, None]
                if new.size and (fresh[p] != weights[p]).any():
                    terms[p][:, new] = own[:, new] * unit_fresh[p][:, None].astype(np.float32)
                    known[:, new] |= finite[:, new] & (fresh[p] > 0)[:, None]
            else:
                ranked = _reciprocal_ranks(own)
                terms[p] = weights[p][:, None] * ranked
                terms[p][:, new] = fresh[p][:, None] * ranked[:, new]
                known |= terms[p] > 0
        total = terms.sum(axis=0)
        np.copyto(total, -np.inf, where=~known)
        if not linear:
            return Scored(queries, self.parts, terms, None, None, self.is_fresh, total)
        return Scored(queries, self.parts, terms, unit, unit_fresh, self.is_fresh, total)

    def score(self, queries: Queries) -> Float:
        """Return [B, I]; -inf where no part can say anything."""
        return self.scored(queries).total

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best allowed items; the reason is ``no_history`` for a fallback slate."""
        found = retrieve(self, queries, k=k, allowed=allowed, n_items=self.n_items, personal=True)
        return _named(found, queries)

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return one amount per history event of query b, plus the bias last."""
        return self.scored(part_of(queries, b, b + 1)).contributions(0, item_ix)

    def part(self, name: str) -> FittedRetriever | None:
        """Return the fitted part of that name, None where the blend has none."""
        return next((part for part in self.parts if part.name == name), None)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state; arrays of parts are prefixed ``<place>.<kind>/``."""
        from lifeloop.models.state import kind_of

        own: dict[str, NDArray[Any]] = {
            "name": ar.text(self.name),
            "rule": ar.text(self.rule),
            "weights": self.weights,
            "cold": self.cold,
            "fresh": self.fresh,
            "is_fresh": self.is_fresh,
            "notes": ar.text("\n".join(self.notes)),
            "n_items": np.array([self.n_items], dtype=np.int64),
        }
        for place, part in enumerate(self.parts):
            for key, value in part.arrays().items():
                own[f"{place:02d}.{kind_of(part)}/{key}"] = value
        return own

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        from lifeloop.models.state import rebuild

        held: dict[str, dict[str, NDArray[Any]]] = {}
        for key, value in arrays.items():
            place, _, name = key.partition("/")
            if name:
                held.setdefault(place, {})[name] = value
        notes = ar.read_text(arrays, "notes")
        return cls(
            name=ar.read_text(arrays, "name"),
            rule=cast(Rule, ar.read_text(arrays, "rule")),
            parts=tuple(rebuild(p.partition(".")[2], held[p]) for p in sorted(held)),
            weights=ar.needed(arrays, "weights"),
            cold=ar.needed(arrays, "cold"),
            fresh=ar.needed(arrays, "fresh"),
            is_fresh=ar.needed(arrays, "is_fresh"),
            notes=tuple(notes.split("\n")) if notes else (),
            n_items=int(ar.needed(arrays, "n_items")[0]),
        )


def cold_weights(parts: Sequence[FittedRetriever], weights: Double) -> Double:
    """Return the weights [P] for people without history, of whom nobody is left to learn from.

    What they wrote comes first (content), then what others use, as learned; the rest is silent.
    """
    reads = np.array([isinstance(part, FittedContent) for part in parts])
    same_for_all = np.array([not hasattr(part, "at") for part in parts])
    common = np.where(same_for_all, weights, 0.0)
    if not common.any():
        common = same_for_all.astype(np.float64)
    return np.where(reads, 1.0, 0.1 * common / max(float(common.max()), 1e-12))


def rms(scores: Float) -> Double:
    """Return [B] √mean(s²) of scores [B, I]; 1 where they are all 0."""
    # pairwise float32 sums: as exact as needed here, and half the time of float64
    total = np.square(scores).sum(axis=1).astype(np.float64)
    size = np.sqrt(total / max(1, scores.shape[1]))
    return np.where(size > 0, size, 1.0)


def _traces(part: FittedRetriever, queries: Queries, b: int, item_ix: Int) -> Double:
    many = getattr(part, "traces", None)
    if many is not None:
        return np.asarray(many(queries, b, item_ix), dtype=np.float64)
    rows = [part.contributions(queries, b, int(item)) for item in item_ix]
    width = int(queries.indptr[b + 1] - queries.indptr[b]) + 1
    return np.asarray(rows, dtype=np.float64).reshape(len(item_ix), width)


def _reciprocal_ranks(scores: Float) -> Float:
    terms = np.zeros_like(scores)
    for b, row in enumerate(scores):
        top = best(row, DEPTH)
        terms[b, top] = 1.0 / (60.0 + np.arange(1, len(top) + 1))
    return terms


def _named(found: Candidates, queries: Queries) -> Candidates:
    """Say ``no_history`` of every slate made without evidence, also where it is full."""
    evidence = has_evidence(queries)
    reason = tuple(
        why if evidence[b] or why == NOTHING_ALLOWED else NO_HISTORY
        for b, why in enumerate(found.reason)
    )
    return Candidates(found.item_ix, found.score, reason)
