"""The one place where scores become a list, with the one documented order.

Higher score first; equal scores in the order of the lower item index (M7 of the cases). What a
retriever cannot score (-inf) or may not show is never listed; the reason says so.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Candidates, Float, Int, Long, Queries
from lifeloop.errors import InputError
from lifeloop.models.data import part_of
from lifeloop.models.together import together

NO_HISTORY = "no_history"
"""Nothing is known of the user: the list is empty, or a named fallback."""
NO_INTERACTIONS = "no_interactions"
"""The model was trained on nothing."""
NOTHING_ALLOWED = "nothing_allowed"
"""Every item is excluded for this user (all consumed, hidden or out of stock)."""
FEW_ALLOWED = "few_allowed"
"""Fewer items are allowed than were asked for; all that are have been listed."""
FEW_SCORED = "few_scored"
"""This model has something to say about fewer allowed items than were asked for."""

GROUP = 32
"""Scores of which one maximum is looked at first."""

CELLS = 1_000_000
"""Scores of one block of queries (4 MB); of more than one block two are made at a time."""


class Scores(Protocol):
    """Anything that scores every item for every query."""

    def score(self, queries: Queries) -> Float:
        """Return [B, I] scores."""
        ...


def retrieve(
    fitted: Scores, queries: Queries, *, k: int, allowed: Bool | None, n_items: int, personal: bool
) -> Candidates:
    """Return the best k allowed items of each query, scored in blocks of bounded memory."""
    n_queries = len(queries)
    fitting(allowed, n_queries, n_items)
    step = max(1, CELLS // max(1, n_items))

    def of(start: int) -> Candidates:
        block = part_of(queries, start, min(n_queries, start + step))
        may = allowed if allowed is None or allowed.ndim == 1 else allowed[start : start + step]
        return listed(fitted.score(block), block, k=k, allowed=may, personal=personal)

    starts = range(0, max(n_queries, 1), step)
    blocks = together([partial(of, start) for start in starts])
    return Candidates(
        item_ix=np.concatenate([found.item_ix for found in blocks]),
        score=np.concatenate([found.score for found in blocks]),
        reason=tuple(reason for found in blocks for reason in found.reason),
    )


def fitting(allowed: Bool | None, n_queries: int, n_items: int) -> None:
    """Refuse a mask of another size."""
    if allowed is not None and allowed.shape not in ((n_items,), (n_queries, n_items)):
        raise InputError(
            "the mask of allowed items does not fit",
            got=allowed.shape,
            allowed=f"[{n_items}] or [{n_queries}, {n_items}]",
        )


def listed(
    scores: Float, queries: Queries, *, k: int, allowed: Bool | None, personal: bool
) -> Candidates:
    """Return the best k allowed items of scores [B, I] that were already made."""
    rows = []
    for b in range(len(scores)):
        picked = best(scores[b], k, allowed=row_of_mask(allowed, b))
        rows.append((picked, scores[b, picked]))
    n_items = scores.shape[1]
    return as_list(rows, queries, k=k, allowed=allowed, n_items=n_items, personal=personal)


def row_of_mask(allowed: Bool | None, b: int) -> Bool | None:
    """Return what query b may be shown, of a mask [I] for all or [B, I] for each."""
    return allowed if allowed is None or allowed.ndim == 1 else allowed[b]


def as_list(
    rows: Sequence[tuple[Int, Float]],
    queries: Queries,
    *,
    k: int,
    allowed: Bool | None,
    n_items: int,
    personal: bool,
) -> Candidates:
    """Return the list of what was found for each query: at most k items and scores, best first."""
    item_ix = np.full((len(rows), k), -1, dtype=np.int32)
    score = np.full((len(rows), k), -np.inf, dtype=np.float32)
    reasons: list[str | None] = []
    evidence = has_evidence(queries)  # [B]
    for b, (picked, own) in enumerate(rows):
        item_ix[b, : len(picked)] = picked
        score[b, : len(picked)] = own
        told = bool(evidence[b]) or not personal
        may = row_of_mask(allowed, b)
        reasons.append(_why(len(picked), k, allowed=may, n_items=n_items, told=told))
    return Candidates(item_ix=item_ix, score=score, reason=tuple(reasons))


def best(scores: Float, k: int, *, allowed: Bool | None = None) -> Int:
    """Return at most k indices of finite, allowed scores [I], best first, ties to the lower."""
    if k <= 0:
        return np.empty(0, np.int32)
    values = scores if allowed is None else np.where(allowed, scores, np.float32(-np.inf))
    among = _contenders(values, k)
    values = values[among]
    if len(among) > k:
        threshold = np.partition(values, len(values) - k)[len(values) - k]
        above = np.flatnonzero(values > threshold)
        level = np.flatnonzero(values == threshold)[: k - above.size]
        chosen = np.concatenate([above, level])
        among, values = among[chosen], values[chosen]
    return np.asarray(among[np.lexsort((among, -values))], dtype=np.int32)


def _contenders(values: Float, k: int) -> Long:
    """Return places, ascending, among which are the k largest values.

    The k-th largest maximum of disjoint groups is at most the k-th largest value, so nothing
    below it is among the k largest: one pass instead of a selection over the catalogue.
    """
    n_groups = len(values) // GROUP
    if n_groups > k:
        whole = n_groups * GROUP
        maxima = values[:whole].reshape(GROUP, n_groups).max(axis=0)
        floor = np.partition(maxima, n_groups - k)[n_groups - k]
        if floor > -np.inf:
            among = np.flatnonzero(values >= floor)
            if len(among) >= k:  # fewer where a NaN hides a maximum
                return among
    return np.flatnonzero(values > -np.inf)


def has_evidence(queries: Queries) -> Bool:
    """Return [B], True where a history holds evidence or the user wrote something."""
    used = has_history(queries)
    return used if queries.mask is None else used | queries.mask


def has_history(queries: Queries) -> Bool:
    """Return [B], True where a history holds an event of weight above 0."""
    used = np.concatenate([[0], np.cumsum(queries.weight > 0)])
    return np.asarray(used[queries.indptr[1:]] > used[queries.indptr[:-1]])


def neighbour_lists(
    indptr: NDArray[np.integer], cols: NDArray[np.integer], values: NDArray[np.floating], *, k: int
) -> tuple[Long, Long]:
    """Return (indptr [n+1], picked) of the k largest positive values of each CSR row.

    ``picked`` indexes ``cols`` and ``values``. Equal values go to the lower column.
    """
    keep: list[Long] = []
    for lo, hi in pairwise(indptr.tolist()):
        row = values[lo:hi]
        if hi - lo > k:
            threshold = np.partition(row, hi - lo - k)[hi - lo - k]
            above = np.flatnonzero(row > threshold)
            level = np.flatnonzero(row == threshold)
            level = level[np.argsort(cols[lo:hi][level], kind="stable")][: k - above.size]
            chosen = np.concatenate([above, level])
        else:
            chosen = np.arange(hi - lo)
        keep.append(lo + chosen[row[chosen] > 0])
    sizes = np.array([len(part) for part in keep], dtype=np.int64)
    picked = np.concatenate([*keep, np.empty(0, np.int64)])
    return np.concatenate([[0], np.cumsum(sizes)]), picked


def _why(found: int, k: int, *, allowed: Bool | None, n_items: int, told: bool) -> str | None:
    if found >= k:
        return None
    n_allowed = n_items if allowed is None else int(allowed.sum())
    if n_allowed == 0:
        return NOTHING_ALLOWED
    if not told and found == 0:
        return NO_HISTORY
    if found == n_allowed:
        return FEW_ALLOWED
    return FEW_SCORED
