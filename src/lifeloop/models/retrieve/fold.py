"""What a history says, item by item: the fold-in that every personal retriever shares.

An item of the history counts once, however often it was used. Its weight is

    w_h = (strongest weight of its events / weight_unit) · 2^(−rank_h / half_life)

with rank 0 for the item used last. Credit for it goes to the newest of its strongest events, so
that "because you bought X" is said of the purchase and not of a later view. Events of weight 0
are no evidence. (I2 of the cases: a view and an order are different evidence.)
"""

from dataclasses import dataclass

import numpy as np

from lifeloop.contracts import Double, Float, Int, Long, Queries
from lifeloop.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Folded:
    """B folded histories in CSR form, items oldest first. H: distinct items of all of them."""

    indptr: Long  # [B+1]
    item_ix: Int  # [H]
    weight: Double  # [H]
    event: Long  # [H] the credited event, an index into the arrays of the queries

    def row(self, b: int) -> tuple[Int, Double, Long]:
        """Return items, weights and credited events of query b."""
        lo, hi = self.indptr[b], self.indptr[b + 1]
        return self.item_ix[lo:hi], self.weight[lo:hi], self.event[lo:hi]


def fold(
    queries: Queries, *, n_items: int, weight_unit: float, half_life_events: float | None
) -> Folded:
    """Return the evidence of each history.

    Parameters
    ----------
    queries : Queries
        Histories, oldest first.
    n_items : int
        Size of the catalogue; an index outside it is refused.
    weight_unit : float
        The event weight that counts as 1 (the strongest seen in training).
    half_life_events : float or None
        Distinct items until evidence halves; None: all weigh the same.
    """
    known = queries.memo.get(("folded", n_items, weight_unit, half_life_events))
    if known is None:
        known = _weighed(_evidence(queries, n_items), weight_unit, half_life_events)
        queries.memo["folded", n_items, weight_unit, half_life_events] = known
    folded: Folded = known
    return folded


def weight_unit(weight: Float) -> float:
    """Return the strongest event weight of a training set, 1 for an empty one."""
    return float(weight.max()) if weight.size else 1.0


def _weighed(evidence: Folded, weight_unit: float, half_life_events: float | None) -> Folded:
    weighed = evidence.weight / weight_unit
    if half_life_events is not None:
        sizes = np.diff(evidence.indptr)
        rank = np.repeat(evidence.indptr[1:], sizes) - 1 - np.arange(len(weighed))
        weighed = weighed * np.exp2(-rank / half_life_events)
    return Folded(evidence.indptr, evidence.item_ix, weighed, evidence.event)


def _evidence(queries: Queries, n_items: int) -> Folded:
    """Return the items of each history with the strongest weight of their events."""
    known = queries.memo.get(("evidence", n_items))
    if known is None:
        known = queries.memo["evidence", n_items] = _gathered(queries, n_items)
    evidence: Folded = known
    return evidence


def _gathered(queries: Queries, n_items: int) -> Folded:
    n_queries = len(queries)
    if queries.item_ix.size and int(queries.item_ix.max()) >= n_items:
        raise InputError(
            "a history holds an item the model does not know",
            got=int(queries.item_ix.max()),
            allowed=f"indices below {n_items}",
            hint="leave items that are newer than the bundle out of the history",
        )
    row = np.repeat(np.arange(n_queries), np.diff(queries.indptr))  # [L]
    position = np.flatnonzero(queries.weight > 0)  # [L']
    if not position.size:
        empty = np.empty(0, np.int64)
        return Folded(np.zeros(n_queries + 1, np.int64), empty.astype(np.int32), np.empty(0), empty)
    key = row[position] * n_items + queries.item_ix[position]
    order = np.argsort(key, kind="stable")  # stable: within an item the events stay oldest first
    position, key = position[order], key[order]
    first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))  # [H]
    last = np.concatenate([first[1:], [len(key)]]) - 1
    weight = queries.weight[position].astype(np.float64)
    strongest = np.maximum.reduceat(weight, first)
    is_strongest = weight == np.repeat(strongest, last - first + 1)
    credited = np.maximum.reduceat(np.where(is_strongest, position, -1), first)
    newest = position[last]
    by_time = np.argsort(newest, kind="stable")  # rows follow each other, so this keeps them apart
    owner = row[newest[by_time]]
    indptr = np.searchsorted(owner, np.arange(n_queries + 1))
    return Folded(
        indptr=indptr.astype(np.int64),
        item_ix=(key[first] % n_items)[by_time].astype(np.int32),
        weight=strongest[by_time],
        event=credited[by_time],
    )
