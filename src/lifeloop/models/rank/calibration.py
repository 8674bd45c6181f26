"""Scores as chances by Platt's scaling, and how far what is told can be relied on.

    p = 1 / (1 + exp(−(a·s + c))), a ≥ 0                              (platt1999)
    ECE = Σ_b n_b / N |mean chance in b − share that came in b|      (naeini2015, equation 3)

over ten bins b of equal counts. a and c are learned on scores out of fold.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from lifeloop.contracts import Bool, Double

BINS = 10


@dataclass(frozen=True, slots=True)
class Reliability:
    """How chances told to people not learned from compare with what came."""

    n: int
    mean: float
    came: float
    brier: float
    ece: float

    def told(self) -> str:
        """Say it in a line."""
        return (
            f"chances on {self.n:,} candidates of people not learned from: mean {self.mean:.4f}, "
            f"came {self.came:.4f}, Brier score {self.brier:.4f}, calibration error {self.ece:.4f}"
        )


def platt(score: Double, target: Bool) -> tuple[float, float]:
    """Return (a, c) by maximum likelihood; a higher score never means less likely."""
    label = target.astype(np.float64)

    def loss(w: Double) -> tuple[float, Double]:
        z = w[0] * score + w[1]
        p = 1.0 / (1.0 + np.exp(-np.clip(z, -50, 50)))
        value = float((np.logaddexp(0.0, z) - label * z).mean())
        rest = p - label
        return value, np.array([float((rest * score).mean()), float(rest.mean())])

    base = float(np.clip(label.mean(), 1e-6, 1 - 1e-6))
    start = np.array([1.0, np.log(base / (1.0 - base))])
    solved = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None), (None, None)])
    return float(solved.x[0]), float(solved.x[1])


def chances(score: Double, slope: float, level: float) -> Double:
    """Return Platt's chances."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(slope * score + level, -50, 50))))


def reliability(chance: Double, target: Bool) -> Reliability:
    """Return how chances [N] compare with what came [N]."""
    n = len(chance)
    if not n:
        return Reliability(0, 0.0, 0.0, 0.0, 0.0)
    order = np.argsort(chance, kind="stable")
    error = 0.0
    for rows in np.array_split(order, min(BINS, n)):
        error += len(rows) / n * abs(float(chance[rows].mean()) - float(target[rows].mean()))
    return Reliability(
        n=n,
        mean=float(chance.mean()),
        came=float(target.mean()),
        brier=float(np.square(chance - target).mean()),
        ece=error,
    )


def checked(score: Double, target: Bool, group: NDArray[np.integer]) -> Reliability:
    """Return the reliability of Platt's chances, learned on one half of people and told the other.

    Parameters
    ----------
    score, target : arrays [N]
        Scores out of fold, and what came.
    group : int array [N]
        Whose candidate it is.
    """
    half = group % 2 == 0
    told = np.zeros(len(score))
    for learned in (half, ~half):
        if not learned.any() or learned.all():
            return reliability(np.full(len(score), float(target.mean())), target)
        told[~learned] = chances(score[~learned], *platt(score[learned], target[learned]))
    return reliability(told, target)
