"""What many people use, lately: the floor, and the fallback for people we know nothing of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import UNTIMED, Bool, Candidates, Double, Float, Int, Queries, TrainData
from lifeloop.models import arrays as ar
from lifeloop.models.data import age_days
from lifeloop.models.retrieve.fold import weight_unit
from lifeloop.models.retrieve.topk import NO_INTERACTIONS, retrieve


@dataclass(frozen=True, slots=True)
class Popularity:
    """score_i = log(1 + Σ_u max over u's events on i of (w / w_max) · 2^(−age / half_life)).

    People are counted, not events: a hundred views by one person are one person. An event
    without a time weighs as much as the middle one of those with a time.

    Parameters
    ----------
    half_life_days : float or None
        Days until an event counts half; None: all count the same.
    window_days : float
        The recent past of which ``users_recent`` counts people, for reasons in words.
    name : str
        How it is called in reports.
    """

    half_life_days: float | None = None
    window_days: float = 28.0
    name: str = "popularity"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedPopularity":
        """Count; nothing random."""
        age = age_days(data.t_us, data.as_of_us)  # [n]
        timed = data.t_us != UNTIMED
        usual = float(np.median(age[timed])) if timed.any() else 0.0
        weight = data.weight.astype(np.float64) / weight_unit(data.weight)
        if self.half_life_days is not None:
            weight = weight * np.exp2(-np.where(timed, age, usual) / self.half_life_days)
        pair = data.user_ix.astype(np.int64) * max(1, data.n_items) + data.item_ix  # [n]
        pairs, inverse = np.unique(pair, return_inverse=True)
        strongest = np.zeros(len(pairs))
        np.maximum.at(strongest, inverse, weight)
        item = pairs % max(1, data.n_items)
        recent = timed & (np.nan_to_num(age, nan=np.inf) <= self.window_days)
        recent_item = np.unique(pair[recent]) % max(1, data.n_items)
        mass = np.bincount(item, weights=strongest, minlength=data.n_items)
        return FittedPopularity(
            name=self.name,
            log_mass=np.log1p(mass).astype(np.float32),
            users=np.bincount(item, minlength=data.n_items).astype(np.int32),
            users_recent=np.bincount(recent_item, minlength=data.n_items).astype(np.int32),
            window_days=self.window_days,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedPopularity:
    """The same list for everyone; an item that nobody used has score 0."""

    name: str
    log_mass: Float  # [I]
    users: NDArray[np.int32]  # [I] people who ever used the item
    users_recent: NDArray[np.int32]  # [I] people who did within the last window_days
    window_days: float
    _size: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Note once how large the scores are: they are the same for everybody."""
        squares = float(np.square(self.log_mass).sum()) if self.users.any() else 0.0
        object.__setattr__(self, "_size", float(np.sqrt(squares / max(1, len(self.log_mass)))))

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.log_mass)

    def spread(self, queries: Queries, b: int) -> float:
        """Return the root mean square of the scores of all items, 0 where there are none."""
        return self._size

    def score(self, queries: Queries) -> Float:
        """Return [B, I]; -inf everywhere when there was nothing to count."""
        row = self.log_mass if self.users.any() else np.full(self.n_items, -np.inf, np.float32)
        return np.repeat(row[None, :], len(queries), axis=0)

    def row(self, queries: Queries, b: int) -> tuple[Int | None, Float]:
        """Return every item (None) and its score, or nothing when there was nothing to count."""
        if self.users.any():
            return None, self.log_mass
        return np.empty(0, np.int32), np.empty(0, np.float32)

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the most used allowed items."""
        found = retrieve(self, queries, k=k, allowed=allowed, n_items=self.n_items, personal=False)
        if self.users.any() or k == 0:
            return found
        return Candidates(found.item_ix, found.score, (NO_INTERACTIONS,) * len(queries))

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return zeros for the events: all of the score is the bias."""
        amounts = np.zeros(int(queries.indptr[b + 1] - queries.indptr[b]) + 1)
        amounts[-1] = self.log_mass[item_ix]
        return amounts

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "name": ar.text(self.name),
            "log_mass": self.log_mass,
            "users": self.users,
            "users_recent": self.users_recent,
            "window_days": ar.number(self.window_days),
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        return cls(
            name=ar.read_text(arrays, "name"),
            log_mass=ar.needed(arrays, "log_mass"),
            users=ar.needed(arrays, "users"),
            users_recent=ar.needed(arrays, "users_recent"),
            window_days=ar.read_number(arrays, "window_days"),
        )
