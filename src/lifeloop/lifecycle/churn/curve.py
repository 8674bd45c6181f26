"""How long until something ends: the Kaplan-Meier curve with late entries."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, ndtri

from lifeloop.errors import InputError, Unfit

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Curve:
    """Share that has not ended by each time with an end, [J], and its 95% interval.

    ``at_risk`` are watched just before the time, ``ends`` end at it. ``median`` is the first time
    by which half have ended, None where that was not seen.
    """

    time: Floats
    at_risk: NDArray[np.int64]
    ends: NDArray[np.int64]
    survival: Floats
    low: Floats
    high: Floats

    @property
    def median(self) -> float | None:
        """Return the first time at which the share is at most a half."""
        below = np.flatnonzero(self.survival <= 0.5)
        return float(self.time[below[0]]) if len(below) else None

    def at(self, t: float) -> float:
        """Return the share that has not ended by ``t``; 1 before the first end."""
        ix = int(np.searchsorted(self.time, t, side="right")) - 1
        return 1.0 if ix < 0 else float(self.survival[ix])


def kaplan_meier(duration: Floats, ended: Flags, *, entry: Floats | None = None) -> Curve:
    """Return S(t) = Π (1 - d_j / n_j) over the times t_j up to t at which something ended.

    The interval is Greenwood's on the scale log(-log S), so that it stays within 0 and 1.

    Parameters
    ----------
    duration : array [N]
        Age at which each was last seen: the end where ``ended``, else it was still going on.
    ended : array of bool [N]
        Whether the end was seen.
    entry : array [N], optional
        Age from which each is watched (left truncation); default 0.

    Raises
    ------
    InputError
        Not finite, negative, or not after the entry.
    Unfit
        Nobody, or no end was seen.

    References
    ----------
    kaplan1958; greenwood1926; kalbfleisch2002, equation 1.13.
    """
    start = np.zeros(len(duration)) if entry is None else entry
    check_durations(duration, start)
    if not ended.any():
        raise Unfit(
            "nobody has ended yet, so there is no curve", got=f"{len(duration)} watched",
            hint="wait, read a longer log, or call a shorter silence churn",
        )  # fmt: skip
    time, ends = np.unique(duration[ended], return_counts=True)
    came = np.searchsorted(np.sort(start), time, side="left")
    went = np.searchsorted(np.sort(duration), time, side="left")
    at_risk = came - went
    share = 1 - ends / at_risk
    survival = np.cumprod(share)
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.cumsum(ends / (at_risk * (at_risk - ends)))
        spread = ndtri(0.975) * np.sqrt(growth) / np.log(survival)
        low, high = survival ** np.exp(-spread), survival ** np.exp(spread)
    gone = ~(survival > 0)  # the last one ended: no variance is left to say
    low, high = np.where(gone, 0.0, low), np.where(gone, 0.0, high)
    return Curve(time, at_risk, ends, survival, low, high)


def logrank(duration: Floats, ended: Flags, group: NDArray[np.int64]) -> tuple[float, float]:
    """Return chi-squared and p of the hypothesis that all groups end alike.

    χ² = (O - E)' V⁻¹ (O - E) over all groups but the last, summed over the times of ends.

    Parameters
    ----------
    duration, ended : array [N]
        As for ``kaplan_meier``.
    group : array of int [N]
        Which group each belongs to.

    Raises
    ------
    Unfit
        One group only, or no end.

    References
    ----------
    mantel1966.
    """
    check_durations(duration, np.zeros(len(duration)))
    kinds = np.unique(group)
    if len(kinds) < 2 or not ended.any():
        raise Unfit("nothing to compare", got=f"{len(kinds)} groups, {int(ended.sum())} ends")
    time, ends = np.unique(duration[ended], return_counts=True)
    risk, fell = np.empty((len(kinds), len(time))), np.empty((len(kinds), len(time)))
    for g, kind in enumerate(kinds):
        mine = np.sort(duration[group == kind])
        risk[g] = len(mine) - np.searchsorted(mine, time, side="left")
        own = np.sort(duration[(group == kind) & ended])
        fell[g] = np.searchsorted(own, time, side="right") - np.searchsorted(own, time, side="left")
    n = risk.sum(axis=0)
    share = risk / n
    off = (fell - share * ends).sum(axis=1)[:-1]
    scale = np.where(n > 1, ends * (n - ends) / np.maximum(n - 1, 1), 0.0)
    spread = -(share * scale) @ share.T
    spread[np.arange(len(kinds)), np.arange(len(kinds))] += (share * scale).sum(axis=1)
    chi2 = float(off @ np.linalg.solve(spread[:-1, :-1], off))
    return chi2, float(chdtrc(len(kinds) - 1, chi2))


def check_durations(duration: Floats, entry: Floats) -> None:
    """Refuse durations that are not finite, negative, or not after their entry."""
    if not len(duration):
        raise Unfit("nobody to watch", hint="read a longer log")
    wrong = ~(np.isfinite(duration) & np.isfinite(entry) & (entry >= 0))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise InputError(
            "durations and entries must be finite and entries at least 0",
            got=f"row {at}: {entry[at]} to {duration[at]} ({int(wrong.sum())} rows)",
        )
    empty = duration <= entry
    if empty.any():
        at = int(np.flatnonzero(empty)[0])
        raise InputError(
            "a duration must end after its entry",
            got=f"row {at}: {entry[at]} to {duration[at]} ({int(empty.sum())} rows)",
            hint="leave out who was never watched, or count in a finer unit",
        )
