"""Sequential ridge: the decayed past predicts what comes next, in closed form.

With x_t = Σ_{s<t} d^(t−1−s) e(i_s) before each event t of a person and y_t = e(i_t),

    W = (XᵀX + λI)⁻¹ XᵀY,    score = x W,

d = 2^(−1/half_life). It is EASE's regression with the order of events in it, and item by item as
explainable. X is never built: two events of one person g apart, the later followed by m more,
add d^g (1 − d^(2m)) / (1 − d²) to XᵀX and d^(g−1) to XᵀY, so both are sums over pairs of events
(own derivation; the regression is steck2019 with targets in time).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from lifeloop.contracts import Double, Long, TrainData
from lifeloop.errors import InputError
from lifeloop.models.retrieve.ease import DOUBLE, RIDGES, FittedEase, Sums, places
from lifeloop.models.retrieve.fold import weight_unit

FORGOTTEN = 0.01
"""Pairs of events whose weight has decayed below this are left out."""


@dataclass(frozen=True, slots=True)
class SequentialRidge:
    """Ridge from the decayed past to the next event, over the ``n_items`` most used items.

    Parameters
    ----------
    n_items : int
        Time grows with its cube, memory with its square (6,000 items: 860 MB while counting); above
        ``ease.DOUBLE`` items the equations are solved in single precision.
    ridge : float
        λ above.
    half_life_events : float
        Events until the past counts half, in training and in the request.
    name : str
        How it is called in reports.
    """

    n_items: int = 6000
    ridge: float = 300.0
    half_life_events: float = 8.0
    name: str = "sequential"

    @property
    def step(self) -> str:
        """What tells the steps of the ladder apart."""
        return f"λ {self.ridge:g}"

    def ladder(self) -> "tuple[SequentialRidge, ...]":
        """Return the same with other ridges; see ``models.climb``."""
        return tuple(replace(self, ridge=self.ridge * times) for times in RIDGES)

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> FittedEase:
        """Count pairs and solve; nothing random."""
        return self.solved(self.counted(data))

    def counted(self, data: TrainData) -> Sums:
        """Return the sums that every ridge begins with."""
        count = np.bincount(data.item_ix, minlength=data.n_items)
        most = np.lexsort((np.arange(data.n_items), -count))[: self.n_items]
        covered = np.sort(most[count[most] > 0])  # [n]
        place = places(covered, data.n_items)
        inside = place[data.item_ix] >= 0
        user = data.user_ix[inside].astype(np.int64)
        item = place[data.item_ix[inside]].astype(np.int64)
        gram, cross = pair_sums(
            user, item, n=len(covered), decay=float(np.exp2(-1.0 / self.half_life_events))
        )
        if len(covered) > DOUBLE:
            gram, cross = gram.astype(np.float32), cross.astype(np.float32)
        return Sums(covered.astype(np.int32), place, gram, weight_unit(data.weight), cross)

    def solved(self, sums: Sums) -> FittedEase:
        """Solve with this ridge, in the memory of ``sums``, which are of no use afterwards."""
        if sums.cross is None:
            raise InputError(
                "the sums hold no steps", allowed="what SequentialRidge.counted returns"
            )
        return FittedEase(
            name=self.name,
            covered=sums.covered,
            place=sums.place,
            weights=_solved(sums.gram, sums.cross, self.ridge).astype(np.float32),
            weight_unit=sums.weight_unit,
            half_life_events=self.half_life_events,
        )


def pair_sums(user: Long, item: Long, *, n: int, decay: float) -> tuple[Double, Double]:
    """Return XᵀX and XᵀY [n, n] of events sorted by (user, time)."""
    if not len(user):
        return np.zeros((n, n)), np.zeros((n, n))
    last = np.searchsorted(user, user, side="right")  # [m] end of each person's events
    after = last - np.arange(len(user)) - 1  # [m] events of the same person that follow
    squared = decay * decay
    left = np.asarray((1.0 - squared**after) / (1.0 - squared), dtype=np.float64)  # [m]
    gram, cross = np.zeros((n, n)), np.zeros((n, n))
    for cells, mass, step in _pairs(user, item, left, n=n, decay=decay):
        # in place: at 6,000 items every other way holds several matrices of 288 MB more
        np.add.at(gram.reshape(-1), cells, mass)
        np.add.at(cross.reshape(-1), cells, step)
    gram += gram.T
    gram[np.diag_indices(n)] += np.bincount(item, weights=left, minlength=n)
    return gram, cross


def _pairs(
    user: Long, item: Long, left: Double, *, n: int, decay: float
) -> Iterator[tuple[Long, Double, float]]:
    """Yield pairs of events by their distance: cells of [n, n], what they add to each matrix."""
    reach = int(np.ceil(np.log(FORGOTTEN) / np.log(decay))) if decay > FORGOTTEN else 1
    for gap in range(1, min(reach, len(user) - 1) + 1):
        earlier = np.flatnonzero(user[:-gap] == user[gap:])
        if not earlier.size:
            break
        cells = item[earlier] * n + item[earlier + gap]
        yield cells, decay**gap * left[earlier + gap], decay ** (gap - 1)


def _solved(gram: NDArray[Any], cross: NDArray[Any], ridge: float) -> NDArray[Any]:
    if not len(gram):
        return gram
    gram[np.diag_indices(len(gram))] += ridge
    single = gram.dtype == np.float32
    potrf, potrs = (lapack.spotrf, lapack.spotrs) if single else (lapack.dpotrf, lapack.dpotrs)
    factor, failed = potrf(gram.T, lower=1, overwrite_a=1, clean=0)
    if failed:
        raise InputError(
            "the equations of the sequential ridge have no stable solution",
            got=f"ridge {ridge}",
            allowed="a larger ridge",
        )
    solved, _ = potrs(factor, cross, lower=1)
    return np.ascontiguousarray(solved)
