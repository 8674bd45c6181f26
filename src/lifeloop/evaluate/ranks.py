"""From scores to the ranks of the targets, with seen items out and ties counted half.

Letters: B users of a batch, I items, k list length, T targets of one user.
"""

from dataclasses import dataclass

import numpy as np

from lifeloop.contracts import Double, Float, Int, Long
from lifeloop.errors import InputError
from lifeloop.models.retrieve.topk import best


@dataclass(frozen=True, slots=True)
class Rows:
    """Lists of item indices per user in CSR form: user u has ``ix[indptr[u]:indptr[u + 1]]``."""

    indptr: Long
    ix: Int

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def of(self, u: int) -> Int:
        """Return the items of user u."""
        return self.ix[self.indptr[u] : self.indptr[u + 1]]


def rows_of(user: Long, item: Int, n_users: int) -> Rows:
    """Return pairs sorted by user as rows; ``user`` holds 0 … n_users − 1."""
    indptr = np.searchsorted(user, np.arange(n_users + 1)).astype(np.int64)
    return Rows(indptr, np.ascontiguousarray(item, dtype=np.int32))


def ranked(
    scores: Float, *, targets: list[Int], seen: list[Int], k: int
) -> tuple[list[Double], Int]:
    """Return the ranks of each user's targets and each user's list.

    rank = (others that score higher) + ½ (others that score the same) + place among the targets,
    where *others* are unseen items that are not targets. Scores of -inf rank nowhere.

    Parameters
    ----------
    scores : Float [B, I]
        Higher is better; -inf where the model can say nothing. Seen items are overwritten.
    targets, seen : lists of Int, length B
        Item indices, -1 in ``targets`` for one outside the catalogue (never reached).
    k : int
        Length of the lists.

    Returns
    -------
    ranks : list of Double [T]
        From 1, ascending; ``inf`` where unreachable.
    lists : Int [B, k]
        Best first, ties to the lower index, -1 pads.

    Raises
    ------
    InputError
        A score is NaN or +inf.
    """
    if np.isnan(scores).any() or np.isposinf(scores).any():
        raise InputError(
            "a model gave scores that cannot be ranked",
            got=f"{int(np.isnan(scores).sum())} NaN, {int(np.isposinf(scores).sum())} +inf",
            allowed="finite numbers, or -inf for nothing to say",
        )
    lists = np.full((len(scores), k), -1, dtype=np.int32)
    ranks = []
    for b, row in enumerate(scores):
        row[seen[b]] = -np.inf
        found = best(row, k)
        lists[b, : len(found)] = found
        ranks.append(_ranks(row, targets[b]))
    return ranks, lists


def _ranks(row: Float, targets: Int) -> Double:
    reachable = targets[targets >= 0]
    own = np.sort(row[reachable])[::-1]
    own = own[own > -np.inf]
    row = row.copy()
    row[reachable] = -np.inf
    ordered = np.sort(row)
    higher = len(ordered) - np.searchsorted(ordered, own, side="right")
    same = len(ordered) - higher - np.searchsorted(ordered, own, side="left")
    ranks = np.full(len(targets), np.inf)
    ranks[: len(own)] = higher + 0.5 * same + np.arange(1, len(own) + 1)
    return ranks
