"""How the parts of a blend do on the inner validation slice, alone and as candidates together."""

from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Double, FittedRetriever, Float, Int, Queries
from lifeloop.models.data import part_of
from lifeloop.models.holdout import Holdout
from lifeloop.models.retrieve.topk import best
from lifeloop.models.scored import rms
from lifeloop.models.together import CELLS as CELLS_WORTH
from lifeloop.models.together import together
from lifeloop.models.weights import CandidateTable

CELLS = 20_000_000
"""Scores held at once (80 MB)."""


def candidate_table(
    fitted: list[FittedRetriever], inner: Holdout, *, depth: int, repeats: bool
) -> CandidateTable:
    """Return the best ``depth`` of every part and the targets, with every part's scores."""
    n_items = inner.data.n_items

    def of(start: int, stop: int) -> list[tuple[Int, Float]]:
        rows: list[tuple[Int, Float]] = []
        block = part_of(inner.queries, start, stop)
        scores = []
        for part in fitted:
            own = part.score(block)
            for row in own:
                row /= np.float32(rms(row[row > -np.inf], n_items))
            scores.append(own)  # [b, I]
        for b in range(start, stop):
            may = _may(inner, b, repeats=repeats)
            lists = [best(own[b - start], depth, allowed=may) for own in scores]
            picked = np.unique(np.concatenate([*lists, inner.targets_of(b)]))
            features = np.stack([own[b - start, picked] for own in scores], axis=1)  # [C, P]
            rows.append((picked, np.where(features > -np.inf, features, 0.0)))
        return rows

    blocks = _blocks(len(inner.queries), 2 * n_items * len(fitted))
    worth = len(inner.queries) * n_items >= CELLS_WORTH
    jobs = [partial(of, *block) for block in blocks]
    rows = list(chain.from_iterable(together(jobs, worth=worth)))
    width = max((len(picked) for picked, _ in rows), default=0)
    table = CandidateTable(
        features=np.zeros((len(rows), width, len(fitted)), dtype=np.float32),
        real=np.zeros((len(rows), width), dtype=np.bool_),
        target=np.zeros((len(rows), width), dtype=np.bool_),
    )
    for b, (picked, features) in enumerate(rows):
        table.features[b, : len(picked)] = features
        table.real[b, : len(picked)] = True
        table.target[b, : len(picked)] = np.isin(picked, inner.targets_of(b))
    return table


def joined(tables: list[CandidateTable]) -> CandidateTable:
    """Return several tables as one, padded to the widest."""
    width = max(table.real.shape[1] for table in tables)

    def wide(array: NDArray[Any]) -> NDArray[Any]:
        more = [(0, 0), (0, width - array.shape[1]), *[(0, 0)] * (array.ndim - 2)]
        return np.pad(array, more)

    return CandidateTable(
        features=np.concatenate([wide(table.features) for table in tables]),
        real=np.concatenate([wide(table.real) for table in tables]),
        target=np.concatenate([wide(table.target) for table in tables]),
    )


def validation_ndcg(fitted: FittedRetriever, inner: Holdout, *, repeats: bool) -> float:
    """Return the mean NDCG@10 of one retriever over the validation queries, all items ranked."""
    return float(np.mean(ndcgs(fitted, inner, repeats=repeats)))


def ndcgs(
    fitted: FittedRetriever, inner: Holdout, *, repeats: bool, asked: Queries | None = None
) -> Double:
    """Return NDCG@10 of each validation query [B], all items ranked.

    Parameters
    ----------
    repeats : bool
        Whether items of the history are listed.
    asked : Queries, optional
        What the model is told of the same people instead of their histories.
    """
    discount = 1.0 / np.log2(np.arange(10) + 2.0)
    told = inner.queries if asked is None else asked
    found = []
    for start, stop in _blocks(len(inner.queries), inner.data.n_items):
        scores = fitted.score(part_of(told, start, stop))
        for b in range(start, stop):
            top = best(scores[b - start], 10, allowed=_may(inner, b, repeats=repeats))
            targets = inner.targets_of(b)
            gain = float(discount[: len(top)] @ np.isin(top, targets))
            found.append(gain / float(discount[: len(targets)].sum()))
    return np.array(found, dtype=np.float64)


def _may(inner: Holdout, b: int, *, repeats: bool) -> Bool | None:
    if repeats:
        return None
    may = np.ones(inner.data.n_items, dtype=np.bool_)
    lo, hi = inner.queries.indptr[b], inner.queries.indptr[b + 1]
    may[inner.queries.item_ix[lo:hi]] = False
    return may


def _blocks(n_queries: int, cells: int) -> list[tuple[int, int]]:
    step = max(1, CELLS // max(1, cells))
    return [(lo, min(n_queries, lo + step)) for lo in range(0, n_queries, step)]
