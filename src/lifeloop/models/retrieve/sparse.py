"""Sparse linear models: ridge from few sources to each item, for catalogues too large for EASE.

For every item j, on its m strongest sources N_j only,

    w_j = (G[N_j, N_j] + λI)⁻¹ C[N_j, j],   score_j = Σ_h x_h w_hj,

what is negative left out (X. Ning, G. Karypis, "SLIM: sparse linear methods for top-N recommender
systems", ICDM 2011, with the neighbourhood chosen beforehand as in its fsSLIM). Without order G is
XᵀX over people and C the same (the regression of EASE, steck2019); with ``decay`` both are the
sums of the sequential ridge, past × past and past × next (see ``sequential``), kept sparse.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from lifeloop.contracts import Double, Float, Int, Long, TrainData
from lifeloop.models.retrieve.fold import weight_unit
from lifeloop.models.retrieve.itemknn import used_by
from lifeloop.models.retrieve.neighbours import FittedNeighbours
from lifeloop.models.retrieve.sequential import FORGOTTEN
from lifeloop.models.retrieve.topk import neighbour_lists

AT_ONCE = 512
"""Items solved together."""
MOST_PAIRS = 40_000_000
"""Pairs of items counted at most; a person with more events than fit counts with the newest."""


@dataclass(frozen=True, slots=True)
class SparseLinear:
    """Ridge on the ``sources`` strongest sources of each item.

    Parameters
    ----------
    sources : int
        m above; time grows with its cube times the items.
    ridge : float
        λ above, in people (or in events, with ``half_life``).
    half_life : float or None
        Events until the past counts half, in training; None: order does not matter.
    half_life_events : float or None
        How fast the history fades in the request, see ``fold``.
    """

    sources: int = 60
    ridge: float = 10.0
    half_life: float | None = None
    half_life_events: float | None = None
    name: str = "sparse"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> FittedNeighbours:
        """Count pairs and solve item by item; nothing random."""
        if self.half_life is None:
            people = used_by(_bounded(data, MOST_PAIRS))
            gram = (people.T @ people).tocsr().astype(np.float64)
            cross = gram
        else:
            gram, cross = sparse_pair_sums(
                _bounded(data, MOST_PAIRS), decay=float(np.exp2(-1.0 / self.half_life))
            )
        gram.sort_indices()
        source, strength, owner = _solved(gram, cross.tocsc(), self.sources, self.ridge)
        # rows are sources: what an item of the history leads to
        order = np.lexsort((owner, source))
        indptr = np.searchsorted(source[order], np.arange(data.n_items + 1))
        return FittedNeighbours(
            name=self.name,
            indptr=indptr.astype(np.int64),
            neighbour=owner[order].astype(np.int32),
            strength=strength[order].astype(np.float32),
            weight_unit=weight_unit(data.weight),
            half_life_events=self.half_life_events,
        )


def sparse_pair_sums(data: TrainData, *, decay: float) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Return past × past and past × next [I, I] as ``sequential.pair_sums`` does, but sparse."""
    user, item, n = data.user_ix, data.item_ix.astype(np.int64), data.n_items
    shape = (n, n)
    last = np.searchsorted(user, user, side="right")
    after = last - np.arange(len(user)) - 1
    squared = decay * decay
    left: Double = np.asarray((1.0 - squared**after) / (1.0 - squared), dtype=np.float64)
    diagonal = np.bincount(item, weights=left, minlength=n)
    half, cross = sparse.csr_array(shape), sparse.csr_array(shape)
    reach = int(np.ceil(np.log(FORGOTTEN) / np.log(decay))) if decay > FORGOTTEN else 1
    for gap in range(1, min(reach, len(user) - 1) + 1):
        earlier = np.flatnonzero(user[:-gap] == user[gap:])
        if not earlier.size:
            break
        cells = (item[earlier], item[earlier + gap])
        mass = decay**gap * left[earlier + gap]
        step = np.full(len(earlier), decay ** (gap - 1))
        half = half + sparse.coo_array((mass, cells), shape=shape).tocsr()
        cross = cross + sparse.coo_array((step, cells), shape=shape).tocsr()
    gram = half + half.T + sparse.dia_array((diagonal[None, :], [0]), shape=shape)
    return gram.tocsr(), cross.tocsr()


def _solved(
    gram: sparse.csr_array, cross: sparse.csc_array, m: int, ridge: float
) -> tuple[Long, Float, Long]:
    """Return sources, strengths and owners of the positive weights."""
    size = np.sqrt(np.maximum(gram.diagonal(), 1e-12))
    column = np.repeat(np.arange(gram.shape[0]), np.diff(cross.indptr))
    likeness = cross.data / (size[cross.indices] + np.sqrt(ridge)) / size[column]
    likeness[cross.indices == column] = 0.0  # an item is no source of its own
    indptr, picked = neighbour_lists(cross.indptr, cross.indices, likeness, k=m)
    n_items = gram.shape[0]
    cells = np.repeat(np.arange(n_items, dtype=np.int64), np.diff(gram.indptr)) * n_items
    cells += gram.indices
    source, strength, owner = [], [], []
    for lo in range(0, gram.shape[0], AT_ONCE):
        some = np.arange(lo, min(gram.shape[0], lo + AT_ONCE))
        some = some[np.diff(indptr)[some] > 0]
        if not some.size:
            continue
        n = np.diff(indptr)[some]  # [b]
        width = int(n.max())
        inside = np.arange(width)[None, :] < n[:, None]  # [b, m]
        place = picked[np.where(inside, indptr[some][:, None] + np.arange(width), 0)]
        rows: Int = np.where(inside, cross.indices[place], 0)
        wanted = np.where(inside, cross.data[place], 0.0)
        a = _blocks(gram, cells, rows) * (inside[:, :, None] & inside[:, None, :])
        a[:, np.arange(width), np.arange(width)] += ridge
        w = np.linalg.solve(a, wanted[:, :, None])[:, :, 0]  # [b, m]
        kept = inside & (w > 0)
        source.append(rows[kept].astype(np.int64))
        strength.append(w[kept])
        owner.append(np.repeat(some, kept.sum(axis=1)).astype(np.int64))
    if not source:
        return np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int64)
    return np.concatenate(source), np.concatenate(strength), np.concatenate(owner)


def _blocks(gram: sparse.csr_array, cells: Long, rows: Int) -> Double:
    """Return gram[rows_b, rows_b] for every b [b, m, m], looked up in its sorted cells."""
    n = gram.shape[0]
    wanted = rows[:, :, None].astype(np.int64) * n + rows[:, None, :]
    place = np.minimum(np.searchsorted(cells, wanted), len(cells) - 1)
    return np.where(cells[place] == wanted, gram.data[place], 0.0)


def _bounded(data: TrainData, most: int) -> TrainData:
    """Leave out the oldest events of people whose pairs alone would fill the memory."""
    sizes = np.bincount(data.user_ix, minlength=data.n_users).astype(np.float64)
    cap = int(sizes.max(initial=0.0))
    while cap > 8 and float((np.minimum(sizes, cap) ** 2).sum()) > most:
        cap = cap * 3 // 4
    last = np.searchsorted(data.user_ix, data.user_ix, side="right")
    kept = last - np.arange(len(data.user_ix)) <= cap
    if kept.all():
        return data
    return replace(
        data,
        **{name: getattr(data, name)[kept] for name in ("user_ix", "item_ix", "t_us", "weight")},
        rating=data.rating[kept],
    )
