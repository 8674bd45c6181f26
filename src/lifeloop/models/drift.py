"""Whether what comes in, and what is scored, has moved since the last bundle.

Inputs: the shares of items among the events of the last bundle's time and since, as the
Jensen-Shannon divergence in bits (0: the same, 1: nothing in common), beside the divergence of two
equally long stretches just before it, which is what this audience does anyway; and the shares of
events of new items and new people. Scores: the old and the new model answer the same people; how
many of ten items their lists share, and the Kolmogorov-Smirnov distance of the scores listed
(J. Lin, "Divergence measures based on the Shannon entropy", IEEE Trans. Inf. Theory 37(1), 1991).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import UNTIMED, Bool, Candidates, Double, Int, Queries, TrainData
from lifeloop.models.data import histories

ASKED = 200
TOP = 10
LEAST = 100
"""Events needed on either side to say anything."""
MOVED = 1.5
"""Divergence above this many times the usual is called moved."""


class Lists(Protocol):
    """Anything that lists the best items."""

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best ``k`` allowed items."""
        ...


@dataclass(frozen=True, slots=True)
class Drift:
    """What moved. None where there is too little to say."""

    events: int  # since the last bundle
    new_item_share: float | None  # of these events
    new_user_share: float | None
    item_divergence: float | None  # bits, before and since
    usual_divergence: float | None  # bits, two stretches before
    list_overlap: float | None  # of ten items, old and new model
    score_distance: float | None  # Kolmogorov-Smirnov
    moved: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in ((n, getattr(self, n)) for n in self.__slots__)
        }


@dataclass(frozen=True, slots=True, eq=False)
class Renumbered:
    """A model over an older catalogue, asked and answering in the numbers of a newer one."""

    model: Lists
    to_old: Int  # [I new] item index in the old catalogue, -1 where it has none
    to_new: Int  # [I old] and back

    @classmethod
    def of(cls, model: Lists, old: Sequence[str], new: Sequence[str]) -> Self:
        """Return the adapter between two lists of item ids."""
        at_old = {item: i for i, item in enumerate(old)}
        at_new = {item: i for i, item in enumerate(new)}
        return cls(
            model=model,
            to_old=np.array([at_old.get(item, -1) for item in new], dtype=np.int32),
            to_new=np.array([at_new.get(item, -1) for item in old], dtype=np.int32),
        )

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the old model's lists; items that are gone are left out of them."""
        place = self.to_old[queries.item_ix]
        known = np.concatenate([[0], np.cumsum(place >= 0)])
        kept = place >= 0
        older = replace(
            queries,
            indptr=known[queries.indptr],
            item_ix=place[kept],
            weight=queries.weight[kept],
            age_days=queries.age_days[kept],
            rating=queries.rating[kept],
        )
        may = None
        if allowed is not None or (self.to_new < 0).any():
            there = self.to_new >= 0
            may = there if allowed is None else there & allowed[..., self.to_new]
        found = self.model.retrieve(older, k, allowed=may)
        item_ix = np.where(found.item_ix >= 0, self.to_new[found.item_ix], -1)
        return Candidates(item_ix.astype(np.int32), found.score, found.reason)


def drift(
    data: TrainData,
    *,
    since_us: int,
    old: Lists | None = None,
    new: Lists | None = None,
) -> Drift:
    """Compare the events since ``since_us`` with an equally long stretch before.

    Parameters
    ----------
    data : TrainData
        Everything known now.
    since_us : int
        Moment of the last bundle.
    old, new : models, optional
        Both over the catalogue of ``data`` (see ``Renumbered``); asked with the histories of up
        to 200 people.
    """
    timed = data.t_us != UNTIMED
    late = timed & (data.t_us >= since_us)
    n = int(late.sum())
    before = np.flatnonzero(timed & ~late)
    before = before[np.argsort(data.t_us[before], kind="stable")]
    first, second = before[-2 * n : -n] if n else before[:0], before[-n:] if n else before[:0]
    known_items, known_users = np.unique(data.item_ix[~late]), np.unique(data.user_ix[~late])
    enough = n >= LEAST and len(first) >= LEAST
    now = usual = None
    if enough:
        now = divergence(_shares(data, second), _shares(data, np.flatnonzero(late)))
        usual = divergence(_shares(data, first), _shares(data, second))
    overlap = distance = None
    if old is not None and new is not None and data.n_users:
        overlap, distance = _scores(data, old, new)
    return Drift(
        events=n,
        new_item_share=_share(~np.isin(data.item_ix[late], known_items)),
        new_user_share=_share(~np.isin(data.user_ix[late], known_users)),
        item_divergence=now,
        usual_divergence=usual,
        list_overlap=overlap,
        score_distance=distance,
        moved=now is not None and usual is not None and now > MOVED * max(usual, 0.01),
    )


def divergence(p: Double, q: Double) -> float:
    """Return the Jensen-Shannon divergence of two distributions [I] in bits."""
    middle = (p + q) / 2.0

    def relative(a: Double) -> float:
        on = a > 0
        return float((a[on] * np.log2(a[on] / middle[on])).sum())

    return max(0.0, (relative(p) + relative(q)) / 2.0)


def _scores(data: TrainData, old: Lists, new: Lists) -> tuple[float, float]:
    some = np.linspace(0, data.n_users - 1, min(ASKED, data.n_users)).astype(np.int32)
    asked = histories(data, np.unique(some))
    before, after = old.retrieve(asked, TOP), new.retrieve(asked, TOP)
    shared = []
    for left, right in zip(before.item_ix.tolist(), after.item_ix.tolist(), strict=True):
        listed = set(left) - {-1}
        if listed:
            shared.append(len(listed & set(right)) / len(listed))
    a, b = (np.sort(found.score[found.item_ix >= 0]) for found in (before, after))
    if not shared or not len(a) or not len(b):
        return 0.0, 1.0
    at = np.concatenate([a, b])
    below = np.searchsorted(a, at, side="right") / len(a)
    gap = below - np.searchsorted(b, at, side="right") / len(b)
    return float(np.mean(shared)), float(np.abs(gap).max())


def _shares(data: TrainData, rows: NDArray[np.integer]) -> Double:
    count = np.bincount(data.item_ix[rows], minlength=data.n_items).astype(np.float64)
    return np.asarray(count / max(count.sum(), 1.0))


def _share(flags: Bool) -> float | None:
    return float(flags.mean()) if flags.size else None
