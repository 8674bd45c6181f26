"""Outliers: flagged, capped for features, never removed.

robust z: z = 0.6745 (x − median) / MAD [iglewicz1993outliers]; where MAD is 0 (most values
equal) the mean absolute deviation takes its place, z = (x − median) / (1.2533 · meanAD).
IQR: beyond Q1 − k·IQR or Q3 + k·IQR [tukey1977eda].
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Double = NDArray[np.float64]
_NORMAL_MAD = 0.6745
_NORMAL_MEAN_AD = 1.2533
FEWEST = 20
"""Fewer values have no outliers: nothing is usual yet."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The range of usual values, and how it was found."""

    low: float
    high: float
    method: str

    def outside(self, values: Double) -> NDArray[np.bool_]:
        """Return where values are outliers; absent ones (NaN) are not [n]."""
        found: NDArray[np.bool_] = (values < self.low) | (values > self.high)
        return found

    def capped(self, values: Double) -> Double:
        """Return winsorised values; absent ones stay absent [n]."""
        return np.clip(values, self.low, self.high)


def bounds(
    values: Double, *, method: str, robust_z: float, iqr_factor: float, log: bool
) -> Bounds | None:
    """Return the range of usual values, or None where there is none to tell.

    Parameters
    ----------
    values : float [n]
        NaN is absent.
    method : "robust_z" | "iqr"
    log : bool
        Judge sign(x)·log(1 + |x|).

    Examples
    --------
    >>> usual = bounds(np.r_[np.arange(1.0, 100.0), 80_995.0], method="iqr", robust_z=5.0,
    ...                iqr_factor=3.0, log=False)
    >>> usual.outside(np.array([50.0, 80_995.0])).tolist()
    [False, True]
    """
    known = values[np.isfinite(values)]
    if len(known) < FEWEST or method == "none":
        return None
    x = np.sign(known) * np.log1p(np.abs(known)) if log else known
    if method == "iqr":
        first, third = np.quantile(x, [0.25, 0.75])
        reach = iqr_factor * (third - first)
        low, high = first - reach, third + reach
    else:
        middle = float(np.median(x))
        spread = float(np.median(np.abs(x - middle))) / _NORMAL_MAD
        if spread == 0:
            spread = float(np.mean(np.abs(x - middle))) * _NORMAL_MEAN_AD
        low, high = middle - robust_z * spread, middle + robust_z * spread
    if low == high:  # one value, and nothing else is usual or unusual
        return None
    if log:
        low, high = (float(np.sign(b) * np.expm1(np.abs(b))) for b in (low, high))
    return Bounds(float(low), float(high), method)
