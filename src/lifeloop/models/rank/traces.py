"""From TreeSHAP values of features to amounts per retriever and per event of the history.

Letters used in shapes: P parts, m items, F features, n events of the person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lifeloop.contracts import Bool, Double, FittedRetriever, Float, Int, Long, Queries
from lifeloop.models.scored import traces_of


@dataclass(frozen=True, slots=True, eq=False)
class Amounts:
    """What the trees say of m items."""

    shares: Double  # [m, F+1] TreeSHAP values, the base last
    names: tuple[str, ...]  # [F]
    score: Double  # [m] what the person is told
    terms: Double  # [P, m] the parts' terms in the linear blend
    fresh: Bool  # [m] items that nobody has used


def traced(
    told: Amounts, parts: Sequence[FittedRetriever], queries: Queries, b: int, item_ix: Int
) -> Double:
    """Return [P+1, m, n+1]; summed over parts and events it is the score."""
    n_parts, n_items = told.terms.shape
    per_part, rest = _by_owner(told, [part.name for part in parts])
    whole = told.terms.sum(axis=0)  # [m]
    # a fresh item has its place from the blend: its whole score is shared as the blend's
    unread = np.where(told.fresh, told.score, 0.0)
    per_part = np.where(told.fresh, 0.0, per_part)
    rest = np.where(told.fresh, 0.0, rest)
    blend = np.where(told.fresh, unread, _blend_amount(told))
    divisible = whole > 1e-9
    per_part = per_part + told.terms * np.where(
        divisible, blend / np.where(divisible, whole, 1.0), 0.0
    )
    rest = rest + np.where(divisible, 0.0, blend)
    width = int(queries.indptr[b + 1] - queries.indptr[b]) + 1
    amounts = np.zeros((n_parts + 1, n_items, width))
    for p, part in enumerate(parts):
        if not per_part[p].any():
            continue
        own = traces_of(part, queries, b, item_ix)  # [m, n+1]
        size = own.sum(axis=1)
        speaks = size > 1e-9
        amounts[p] = own * np.where(speaks, per_part[p] / np.where(speaks, size, 1.0), 0.0)[:, None]
        amounts[p, :, -1] += np.where(speaks, 0.0, per_part[p])
    amounts[-1, :, -1] = rest
    return amounts


def _by_owner(told: Amounts, parts: list[str]) -> tuple[Double, Double]:
    """Return what the features of each part add [P, m], and what nobody's features do [m]."""
    owned = _owned(told.names, tuple(parts))
    per_part = np.stack([told.shares[:, own].sum(axis=1) for own in owned[:-2]])
    return per_part, np.asarray(told.shares[:, owned[-2]].sum(axis=1))


def _blend_amount(told: Amounts) -> Double:
    return np.asarray(told.shares[:, _owned(told.names, ())[-1]].sum(axis=1))


@lru_cache(maxsize=64)
def _owned(names: tuple[str, ...], parts: tuple[str, ...]) -> tuple[Long, ...]:
    """Return the columns of each part, then those of nobody (the base too), then the blend's."""
    owner = [name.partition(".")[0] for name in names]
    columns = [[f for f, o in enumerate(owner) if o == part] for part in parts]
    free = [f for f, o in enumerate(owner) if o not in parts and o != "blend"]
    columns += [[*free, len(names)], [f for f, o in enumerate(owner) if o == "blend"]]
    return tuple(np.array(own, np.int64) for own in columns)


def place_in_blend(usual: Float, scores: Double, fresh: Float) -> Double:
    """Return for each fresh item the score at its place in the blend.

    Parameters
    ----------
    usual, scores : arrays [C]
        The candidates: what the blend says, and their scores.
    fresh : float32 array [m]
        What the blend says of the fresh items.
    """
    if not len(scores):
        return fresh.astype(np.float64)
    ordered = np.sort(usual)
    above = len(ordered) - np.searchsorted(ordered, fresh, side="right")
    return np.asarray(np.sort(scores)[::-1][np.minimum(above, len(scores) - 1)])
