"""Maximum likelihood of positive parameters: the search, its proof, and standard errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from lifeloop.errors import InputError

Floats = NDArray[np.float64]
LogLikelihood = Callable[[Floats], float]

STEP = 1e-4
FLAT = 1e-4
"""A gradient of the mean log-likelihood below this, per log parameter, is a maximum."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """Fitted positive parameters and how sure they are.

    ``covariance`` is that of the logarithms, shape [P, P]; ``None`` where the likelihood is flat
    in some direction, so that no standard error exists.
    """

    names: tuple[str, ...]
    values: Floats
    log_likelihood: float
    n: int
    covariance: Floats | None

    @property
    def standard_errors(self) -> Floats | None:
        """Standard errors of ``values`` by the delta method: θ · se(log θ)."""
        if self.covariance is None:
            return None
        return np.asarray(self.values * np.sqrt(np.diag(self.covariance)), np.float64)

    def draws(self, rng: np.random.Generator, *, n: int) -> Floats:
        """Return ``n`` parameter vectors from the normal approximation of the logs, [n, P].

        Raises
        ------
        InputError
            The likelihood is flat, so there is no approximation to draw from.
        """
        if self.covariance is None:
            raise InputError(
                "no interval: the data do not pin the parameters down",
                got=dict(zip(self.names, self.values.tolist(), strict=True)),
                hint="use more customers or a longer period, or a model with fewer parameters",
            )
        drawn = rng.multivariate_normal(np.log(self.values), self.covariance, size=n)
        return np.asarray(np.exp(drawn), np.float64)


def maximum(
    log_likelihood: LogLikelihood,
    *,
    names: Sequence[str],
    starts: Sequence[Sequence[float]],
    n: int,
    model: str,
) -> Estimate:
    """Return the best maximum over all starts, searched in log parameters.

    Raises
    ------
    InputError
        No start reached a point with a flat gradient inside the bounds.
    """

    def loss(log_theta: Floats) -> float:
        value = -log_likelihood(np.exp(log_theta)) / n
        return value if np.isfinite(value) else 1e10

    bounds = [(-12.0, 25.0)] * len(names)
    tries = [
        minimize(
            loss,
            np.log(start),
            method="L-BFGS-B",
            jac="3-point",
            bounds=bounds,
            options={"ftol": 1e-14, "gtol": 1e-7, "maxiter": 1000},
        )
        for start in starts
    ]
    best = min(tries, key=lambda found: float(found.fun))
    at = np.asarray(best.x, np.float64)
    slope = _gradient(loss, at)
    inside = all(low + 0.01 < v < high - 0.01 for v, (low, high) in zip(at, bounds, strict=True))
    if not inside or float(np.abs(slope).max()) > FLAT:
        raise InputError(
            f"{model} did not converge",
            got=dict(zip(names, np.exp(at).round(6).tolist(), strict=True)),
            allowed="a maximum of the likelihood at finite, positive parameters",
            hint="try a longer period, more customers who bought again, or another model",
        )
    curved = _hessian(loss, at) * n
    root = np.linalg.eigvalsh(curved)
    covariance = (
        np.asarray(np.linalg.inv(curved), np.float64) if root[0] > 1e-9 * root[-1] else None
    )
    return Estimate(tuple(names), np.exp(at), -float(best.fun) * n, n, covariance)


def _gradient(f: Callable[[Floats], float], at: Floats) -> Floats:
    eye = np.eye(len(at)) * STEP
    return np.array([(f(at + e) - f(at - e)) / (2 * STEP) for e in eye])


def _hessian(f: Callable[[Floats], float], at: Floats) -> Floats:
    step = 1e-3
    eye = np.eye(len(at)) * step
    rows = [
        [
            (f(at + a + b) - f(at + a - b) - f(at - a + b) + f(at - a - b)) / (4 * step**2)
            for b in eye
        ]
        for a in eye
    ]
    return np.array(rows)
