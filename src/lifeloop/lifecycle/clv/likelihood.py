"""Maximum likelihood: the search with analytic gradients, its proof, and standard errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from lifeloop.errors import Unfit

Floats = NDArray[np.float64]
LogLikelihood = Callable[[Floats], tuple[float, Floats]]
"""Parameters [P] to the log-likelihood and its gradient [P] in them."""

STEP = 1e-4
FLAT = 1e-4
"""A gradient of the mean log-likelihood below this, per searched parameter, is a maximum."""

LOW, HIGH, FREE = -12.0, 25.0, 20.0
"""Bounds of the logarithm of a positive parameter, and either way of a free one."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """Fitted parameters and how sure they are.

    All are positive but the last ``free``, which are real numbers (effects of covariates).
    ``covariance`` is that of the searched scale (logarithms of positive ones, free ones as they
    are), shape [P, P]; ``None`` where the likelihood is flat in some direction, so that no
    standard error exists.
    """

    names: tuple[str, ...]
    values: Floats
    log_likelihood: float
    n: int
    covariance: Floats | None
    free: int = 0

    @property
    def standard_errors(self) -> Floats | None:
        """Standard errors of ``values`` by the delta method: θ · se(log θ) of positive ones."""
        if self.covariance is None:
            return None
        scale = self.values.copy()
        scale[len(scale) - self.free :] = 1.0
        return np.asarray(scale * np.sqrt(np.diag(self.covariance)), np.float64)

    def draws(self, rng: np.random.Generator, *, n: int) -> Floats:
        """Return ``n`` parameter vectors from the normal approximation of the search, [n, P].

        Raises
        ------
        Unfit
            The likelihood is flat, so there is no approximation to draw from.
        """
        if self.covariance is None:
            raise Unfit(
                "no interval: the data do not pin the parameters down",
                got=dict(zip(self.names, self.values.tolist(), strict=True)),
                hint="use more customers or a longer period, or a model with fewer parameters",
            )
        at = searched(self.values, self.free)
        drawn = rng.multivariate_normal(at, self.covariance, size=n)
        return natural(drawn, self.free)


def searched(values: Floats, free: int) -> Floats:
    """Return parameters on the scale of the search: logarithms of all but the last ``free``."""
    out = values.copy()
    positive = out[..., : out.shape[-1] - free]
    positive[:] = np.log(positive)
    return out


def natural(at: Floats, free: int) -> Floats:
    """Return the parameters of points of the search; the inverse of ``searched``."""
    out = at.copy()
    positive = out[..., : out.shape[-1] - free]
    positive[:] = np.exp(positive)
    return out


def maximum(
    log_likelihood: LogLikelihood,
    *,
    names: Sequence[str],
    starts: Sequence[Sequence[float]],
    n: int,
    model: str,
    free: int = 0,
    hint: str = "try a longer period, more customers who bought again, or another model",
) -> Estimate:
    """Return the best maximum over all starts, searched in log parameters.

    Parameters
    ----------
    log_likelihood : callable
        Gives the value and its analytic gradient.
    names, starts, free
        Parameters, points to search from, and how many of the last are free in sign.
    n : int
        Customers, for the scale of the search.
    model, hint : str
        Named in the error.

    Raises
    ------
    Unfit
        No start reached a point with a flat gradient inside the bounds.
    """

    def loss(at: Floats) -> tuple[float, Floats]:
        theta = natural(at, free)
        value, slope = log_likelihood(theta)
        scale = theta.copy()
        scale[len(scale) - free :] = 1.0
        slope = -slope * scale / n
        if not (np.isfinite(value) and np.isfinite(slope).all()):
            return 1e10, np.zeros_like(at)
        return -value / n, slope

    bounds = [(LOW, HIGH)] * (len(names) - free) + [(-FREE, FREE)] * free
    tries = [
        minimize(
            loss,
            searched(np.array(start, np.float64), free),
            method="L-BFGS-B",
            jac=True,
            bounds=bounds,
            options={"ftol": 1e-14, "gtol": 1e-7, "maxiter": 1000},
        )
        for start in starts
    ]
    best = min(tries, key=lambda found: float(found.fun))
    at = np.asarray(best.x, np.float64)
    value, slope = loss(at)
    inside = all(low + 0.01 < v < high - 0.01 for v, (low, high) in zip(at, bounds, strict=True))
    if not inside or value >= 1e10 or float(np.abs(slope).max()) > FLAT:
        raise Unfit(
            f"{model} did not converge",
            got=dict(zip(names, natural(at, free).round(6).tolist(), strict=True)),
            allowed="a maximum of the likelihood at finite, positive parameters",
            hint=hint,
        )
    curved = _hessian(lambda point: loss(point)[1], at) * n
    root = np.linalg.eigvalsh(curved)
    covariance = (
        np.asarray(np.linalg.inv(curved), np.float64) if root[0] > 1e-9 * root[-1] else None
    )
    return Estimate(tuple(names), natural(at, free), -value * n, n, covariance, free)


def _hessian(slope: Callable[[Floats], Floats], at: Floats) -> Floats:
    eye = np.eye(len(at)) * STEP
    rows = np.array([(slope(at + e) - slope(at - e)) / (2 * STEP) for e in eye])
    return np.asarray((rows + rows.T) / 2, np.float64)
