"""Ranking metrics, each as written here and nowhere else.

Letters: T targets of one user, U users, I items, k list length, d vector width.

Accuracy metrics take the ranks of one user's targets (``ranks`` [T], from 1, ascending, ``inf``
for a target that the model cannot reach). Ranks may end in .5: an item that is not a target and
ties with one counts half (``ranks.py``). The others take the lists themselves (``lists`` [U, k],
-1 pads).
"""

import numpy as np

from lifeloop.contracts import Double, Float, Int, Long


def hit_rate(ranks: Double, k: int) -> float:
    """Return HR@k: 1 if any target is among the first k, else 0."""
    return float(ranks.size > 0 and ranks.min() <= k)


def recall(ranks: Double, k: int) -> float:
    """Return recall@k = hits / T: the share of *all* targets among the first k.

    With more than k targets it cannot reach 1; with fewer than k it can.
    """
    return float((ranks <= k).sum() / ranks.size) if ranks.size else 0.0


def precision(ranks: Double, k: int) -> float:
    """Return precision@k = hits / k, also where the list is shorter than k."""
    return float((ranks <= k).sum() / k)


def ndcg(ranks: Double, k: int) -> float:
    """Return NDCG@k = Σ_{r ≤ k} 1/log₂(1 + r) / Σ_{j ≤ min(k, T)} 1/log₂(1 + j).

    Binary gains; the ideal list has all targets first [jarvelin2002, eq. 3].
    """
    if not ranks.size:
        return 0.0
    gain = (1.0 / np.log2(1.0 + ranks[ranks <= k])).sum()
    ideal = (1.0 / np.log2(1.0 + np.arange(1, min(k, ranks.size) + 1))).sum()
    return float(gain / ideal)


def average_precision(ranks: Double, k: int) -> float:
    """Return AP@k = Σ_{r_i ≤ k} (i / r_i) / min(k, T), i the place among the targets."""
    if not ranks.size:
        return 0.0
    reached = np.sort(ranks[ranks <= k])
    found = np.arange(1, reached.size + 1)
    return float((found / reached).sum() / min(k, ranks.size))


def reciprocal_rank(ranks: Double) -> float:
    """Return 1 / rank of the best target, uncut; 0 where none is reachable."""
    return float(1.0 / ranks.min()) if ranks.size else 0.0


def coverage(lists: Int, n_items: int) -> float:
    """Return the share of the catalogue that appears in at least one list."""
    return len(np.unique(lists[lists >= 0])) / n_items if n_items else 0.0


def popularity_percentile(lists: Int, users_per_item: Long) -> Double:
    """Return per list the mean popularity percentile of its items [U], NaN for an empty list.

    The percentile of an item is the share of items that fewer people used in training, plus
    half of those used by equally many: 0 for the rarest, near 1 for the most popular.
    """
    ordered = np.sort(users_per_item)
    below = np.searchsorted(ordered, users_per_item, side="left")
    upto = np.searchsorted(ordered, users_per_item, side="right")
    return _mean_over(lists, (below + upto) / (2.0 * max(1, len(ordered))))


def novelty(lists: Int, users_per_item: Long, n_users: int) -> Double:
    """Return per list the mean of −log₂((users of i + 1) / (users + 1)) in bits [U].

    An item that everyone used is worth 0 bits; one that nobody used log₂(users + 1).
    """
    share = (users_per_item + 1.0) / (n_users + 1.0)
    return _mean_over(lists, -np.log2(share))


def intra_list_diversity(lists: Int, content: Float, content_ix: Int) -> Double:
    """Return per list 1 − mean cosine over its pairs of items [U].

    Items without a vector are left out; NaN with fewer than two left. ``content`` [c, d] holds
    unit rows, ``content_ix`` [I] the row of each item or -1.
    """
    result = np.full(len(lists), np.nan)
    for u, row in enumerate(lists):
        at = content_ix[row[row >= 0]]
        vectors = content[at[at >= 0]].astype(np.float64)  # [m, d]
        m = len(vectors)
        if m >= 2:
            total = vectors.sum(axis=0)
            pairs = (total @ total - (vectors * vectors).sum()) / 2.0
            result[u] = 1.0 - pairs / (m * (m - 1) / 2.0)
    return result


def _mean_over(lists: Int, amount: Double) -> Double:
    filled = lists >= 0
    sums = np.where(filled, amount[np.where(filled, lists, 0)], 0.0).sum(axis=1)
    n = filled.sum(axis=1)
    return np.where(n > 0, sums / np.maximum(n, 1), np.nan)
