"""The words of arrays and of progress."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Int = NDArray[np.int32]
Long = NDArray[np.int64]
Bool = NDArray[np.bool_]

UNTIMED = np.iinfo(np.int64).min
"""``t_us`` of an event without a time, in arrays: before everything."""


class Progress(Protocol):
    """Told how far a long step is; the caller draws the bar."""

    def __call__(self, step: str, done: float, total: float | None) -> None:
        """Say that ``done`` of ``total`` units of ``step`` are done (total None: unknown)."""
        ...


def silent(step: str, done: float, total: float | None) -> None:
    """Progress that nobody looks at."""
