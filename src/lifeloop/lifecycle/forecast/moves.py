"""Daily moves between the seven activity states: counts, and a matrix of chances."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.errors import InputError
from lifeloop.lifecycle.activity import STATES

Floats = NDArray[np.float64]

POSSIBLE: dict[str, tuple[str, ...]] = {
    "new": ("current", "at_risk_wau"),
    "current": ("current", "at_risk_wau"),
    "reactivated": ("current", "at_risk_wau"),
    "resurrected": ("current", "at_risk_wau"),
    "at_risk_wau": ("current", "reactivated", "at_risk_wau", "at_risk_mau"),
    "at_risk_mau": ("reactivated", "resurrected", "at_risk_mau", "dormant"),
    "dormant": ("resurrected", "dormant"),
}
"""Where a user of each state can be a day later, by the definition of the states."""


@dataclass(frozen=True, eq=False)
class MoveModel:
    """Observed moves [S, S] and the smoothing added to each possible one."""

    counts: Floats
    smoothing: float

    @property
    def matrix(self) -> Floats:
        """Chances by row, [S, S]; every row sums to 1, impossible moves are exactly 0."""
        pseudo = self._pseudo()
        return np.asarray(pseudo / pseudo.sum(axis=1, keepdims=True), np.float64)

    def draw(self, rng: np.random.Generator) -> Floats:
        """Return one matrix as uncertain as the counts leave it: a Dirichlet per row."""
        out = np.zeros_like(self.counts)
        for row, weights in enumerate(self._pseudo()):
            can = weights > 0
            out[row, can] = rng.dirichlet(weights[can])
        return out

    def _pseudo(self) -> Floats:
        return self.counts + self.smoothing * _mask()


def fit_moves(table: pl.DataFrame, *, smoothing: float = 0.5) -> MoveModel:
    """Count the moves from one day to the next.

    Parameters
    ----------
    table : DataFrame
        ``user_id``, ``period`` (date, daily), ``state``: ``activity_states(members=True)``.
    smoothing : float
        Added to every possible move, above 0, so that a state nobody was in has a row.

    Raises
    ------
    InputError
        An unknown state, two states of one user and day, a move that the definition of the states
        rules out, or no two consecutive days.
    """
    if not (np.isfinite(smoothing) and smoothing > 0):
        raise InputError("smoothing must be a number above 0", got=smoothing)
    strange = table.filter(~pl.col("state").is_in(STATES))
    if not strange.is_empty():
        raise InputError("unknown state", got=strange["state"][0], allowed=", ".join(STATES))
    if table.select(pl.struct("user_id", "period").is_duplicated().any()).item():
        raise InputError("a user is in two states on one day")
    later = table.select("user_id", pl.col("period").dt.offset_by("-1d"), to="state")
    pairs = table.join(later, on=["user_id", "period"]).group_by("state", "to").len()
    if pairs.is_empty():
        raise InputError("no user is seen on two consecutive days", hint="use daily states")
    counts = np.zeros((len(STATES), len(STATES)))  # [S, S]
    for before, after, n in pairs.iter_rows():
        if after not in POSSIBLE[before]:
            raise InputError(
                "a move that cannot happen within a day",
                got=f"{before} to {after} ({n} times)",
                allowed=", ".join(POSSIBLE[before]),
            )
        counts[STATES.index(before), STATES.index(after)] = n
    return MoveModel(counts, smoothing)


def _mask() -> Floats:
    return np.array([[float(to in POSSIBLE[at]) for to in STATES] for at in STATES])
