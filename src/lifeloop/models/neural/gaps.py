"""Time between events as a class: what an attention bias is learned for.

    class(Δ) = ⌊ln(max(1, Δ / 15 s)) / 0.3⌋, at most 62; 63 where a time is unknown

(Zhai et al. 2024, "Actions Speak Louder than Words", the HSTU's relative time bias; 15 s because a
request tells ages in days as float32, exact to about 5 s after three years.)
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import UNTIMED, Double, Long

CLASSES = 64
"""How many classes of gaps there are; the last is "unknown"."""
HIDDEN = 64
"""The class, in training, of what a place may not look at: later events and padding."""
UNIT_S = 15.0
WIDTH = 0.3


def seconds(t_us: Long) -> Double:
    """Return seconds, NaN where untimed."""
    return np.where(t_us == UNTIMED, np.nan, t_us / 1e6)


def classes(asked_s: Double, event_s: Double) -> NDArray[np.int32]:
    """Return [..., L, L]: class of the gap from event j (last axis) to when place i is asked.

    Parameters
    ----------
    asked_s, event_s : float64 arrays [..., L]
        Seconds on one clock; NaN where unknown.
    """
    gap: NDArray[Any] = asked_s[..., :, None] - event_s[..., None, :]
    scaled = np.maximum((gap * (1.0 / UNIT_S)).astype(np.float32), 1.0)
    found = np.log(scaled) * np.float32(1.0 / WIDTH)
    return np.where(np.isnan(found), CLASSES - 1, np.minimum(found, CLASSES - 2)).astype(np.int32)
