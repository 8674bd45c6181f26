"""Normalisation: fitted on known values, applied to any; a constant becomes 0, never NaN.

standard (x − mean)/sd; robust (x − median)/IQR; minmax (x − min)/(max − min); log
sign(x)·log(1 + |x|); quantile: the share of known values below x, in [0, 1].
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lifeloop.errors import InputError

Double = NDArray[np.float64]
SCALES = ("none", "standard", "robust", "minmax", "log", "quantile")
_KNOTS = 1001


@dataclass(frozen=True, slots=True)
class Scaling:
    """A fitted scale; plain numbers, so that it is saved as they are."""

    method: str
    centre: float = 0.0
    width: float = 1.0
    knots: Double = field(default_factory=lambda: np.empty(0))

    def apply(self, values: Double) -> Double:
        """Return scaled values; absent ones (NaN) stay absent [n]."""
        if self.method == "log":
            return np.sign(values) * np.log1p(np.abs(values))
        if self.method == "quantile":
            return self._ranked(values)
        return (values - self.centre) / self.width

    def _ranked(self, values: Double) -> Double:
        if not len(self.knots):
            return np.where(np.isnan(values), np.nan, 0.0)
        levels = np.linspace(0.0, 1.0, len(self.knots))
        # Where many values are equal the middle of their levels is theirs.
        below = np.interp(values, self.knots, levels)
        above = 1.0 - np.interp(-values, -self.knots[::-1], levels)
        ranked: Double = np.where(np.isnan(values), np.nan, (below + above) / 2)
        return ranked


def fit_scale(values: Double, *, method: str) -> Scaling:
    """Return the scale of known values.

    Parameters
    ----------
    values : float [n]
        NaN and infinite values are absent.
    method : one of ``SCALES``

    Raises
    ------
    InputError
        Unknown method.

    Examples
    --------
    >>> fit_scale(np.array([1.0, 2.0, 3.0]), method="minmax").apply(np.array([2.0])).tolist()
    [0.5]
    """
    if method not in SCALES:
        raise InputError("unknown normalisation", got=method, allowed=", ".join(SCALES))
    known = values[np.isfinite(values)]
    if method in ("none", "log") or not len(known):
        return Scaling(method)
    if method == "quantile":
        n = min(_KNOTS, len(known))
        return Scaling(method, knots=np.quantile(known, np.linspace(0.0, 1.0, n)))
    if method == "standard":
        centre, width = known.mean(), known.std()
    elif method == "robust":
        first, centre, third = np.quantile(known, [0.25, 0.5, 0.75])
        width = third - first
    else:
        centre, width = known.min(), known.max() - known.min()
    # A spread that is only rounding noise is none.
    flat = width <= 10 * np.finfo(np.float64).eps * max(1.0, float(np.abs(known).max()))
    return Scaling(method, float(centre), 1.0 if flat else float(width))
