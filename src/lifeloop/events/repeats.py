"""Items that a file describes more than once, each time differently: perhaps it is a log."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.events.seen import SeenRows

_SEED = 17


class ItemRepeats:
    """Counts, batch by batch and in bounded memory, rows that change an item of the same file."""

    def __init__(self) -> None:
        self._ids = SeenRows()
        self._rows = SeenRows()

    def changed(self, items: pl.DataFrame) -> NDArray[np.bool_]:
        """Return where a row says something else of an item than the rows before it [n]."""
        ids = items["item_id"].hash(_SEED).to_numpy()
        rows = items.hash_rows(_SEED).to_numpy()
        again = (self._ids.count(ids) > 0) | ~_first(ids)
        said = (self._rows.count(rows) > 0) | ~_first(rows)
        self._ids.add(ids)
        self._rows.add(rows)
        found: NDArray[np.bool_] = again & ~said
        return found

    def close(self) -> None:
        """Remove temporary files."""
        self._ids.close()
        self._rows.close()


def _first(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    first = np.zeros(len(keys), np.bool_)
    first[np.unique(keys, return_index=True)[1]] = True
    return first
