"""The training table of the ranker: candidates of held-out queries, and what came next.

The parts were fitted on what lies before the held-out events, so their scores are out of fold in
time, as they are when a request is answered.
"""

from dataclasses import dataclass, fields

import numpy as np

from lifeloop.contracts import Bool, Double, Float, Int, Long
from lifeloop.models.blended import FittedBlend
from lifeloop.models.data import part_of
from lifeloop.models.holdout import Holdout
from lifeloop.models.rank.candidates import Lists, gather
from lifeloop.models.rank.features import features
from lifeloop.models.rank.items import ItemFacts
from lifeloop.models.rank.traces import place_in_blend


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows of candidates, query by query. N rows, Q queries, F features."""

    features: Float  # [N, F]
    target: Bool  # [N]
    sizes: Long  # [Q] candidates of each query
    n_targets: Long  # [Q] all targets of the query, reached or not
    group: Int  # [Q] whose query it is
    blend: Float  # [N] what the linear blend says
    item_ix: Int  # [N]
    fresh: Bool  # [N] items that nobody had used

    def rows_of(self, chosen: Bool) -> Bool:
        """Return [N], True for the rows of the chosen queries [Q]."""
        return np.repeat(chosen, self.sizes)


def training_table(blend: FittedBlend, inner: Holdout, *, facts: ItemFacts, repeats: bool) -> Table:
    """Return the candidates of every held-out query with their features and targets.

    ``blend`` holds the parts as fitted on what lies before the held-out events.
    """
    rows: list[Float] = []
    hits: list[Bool] = []
    totals: list[Float] = []
    items: list[Int] = []
    for b in range(len(inner.queries)):
        one = part_of(inner.queries, b, b + 1)
        lists = Lists.of(one, 0, blend=blend, repeats=repeats)
        picked = gather(lists, allowed=None)
        rows.append(features(lists, one, 0, picked, parts=blend.parts, facts=facts))
        hits.append(np.isin(picked, inner.targets_of(b)))
        totals.append(lists.total[picked])
        items.append(picked)
    return Table(
        features=np.concatenate(rows),
        target=np.concatenate(hits),
        sizes=np.array([len(row) for row in rows], dtype=np.int64),
        n_targets=np.diff(inner.target_indptr),
        group=inner.user_ix,
        blend=np.concatenate(totals),
        item_ix=np.concatenate(items),
        fresh=blend.is_fresh[np.concatenate(items)],
    )


def joined_tables(tables: list[Table]) -> Table:
    """Return the queries of several tables as one."""
    return Table(
        *(
            np.concatenate([getattr(table, field.name) for table in tables])
            for field in fields(Table)
        )
    )


def served(table: Table, score: Double) -> Double:
    """Return the scores [N] as they are served: a fresh item takes its place from the blend."""
    if not table.fresh.any():
        return score
    told = score.copy()
    ends = np.cumsum(table.sizes)
    query = np.repeat(np.arange(len(table.sizes)), table.sizes)
    for q in np.unique(query[table.fresh]):
        rows = np.arange(ends[q] - table.sizes[q], ends[q])
        new, usual = rows[table.fresh[rows]], rows[~table.fresh[rows]]
        told[new] = place_in_blend(table.blend[usual], score[usual], table.blend[new])
    return told


def ndcg_per_query(table: Table, score: Float | Double, *, k: int = 10) -> Double:
    """Return NDCG@k [Q] of the candidates in the order of ``score`` [N]; ties count against."""
    query = np.repeat(np.arange(len(table.sizes)), table.sizes)
    order = np.lexsort((table.target, -score.astype(np.float64), query))
    start = np.concatenate([[0], np.cumsum(table.sizes)[:-1]])
    rank = np.arange(len(order)) - np.repeat(start, table.sizes)
    hit = table.target[order] & (rank < k)
    gain = np.bincount(
        query[hit], weights=1.0 / np.log2(rank[hit] + 2.0), minlength=len(table.sizes)
    )
    ideal = np.concatenate([[np.inf], np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))])
    return np.asarray(gain / ideal[np.minimum(table.n_targets, k)], dtype=np.float64)
