"""How often a row was seen before in a file, for files of any length in bounded memory."""

import contextlib
import mmap
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

_ASKED = 1_024
"""Keys looked up before pages are given back: each may bring in 64 KB (Linux faults around)."""

IN_MEMORY = 500_000
"""Runs longer than this many keys (8 bytes each) live in a temporary file."""

STEP = 250_000
"""Keys of each of two runs that are merged at a time."""


class SeenRows:
    """Counts 64-bit row keys across the batches of one file.

    Sorted runs of falling length, merged like the files of a log-structured tree, so that a
    batch of b keys costs O(b log n) and each key is moved O(log n) times. Long runs are memory
    maps of temporary files, whose pages are given back after use and which go when they are
    merged: 100 million rows need 0.8 GB of disk, twice that while the longest runs are merged, and
    some tens of megabytes of memory.

    Two different rows share a key with probability n² / 2⁶⁵ (3e-4 at 100 million rows); such a
    row would get another, equally stable id.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._runs: list[Keys] = []
        self._files = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget everything and remove the temporary files."""
        self._runs = []
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def count(self, keys: Keys) -> NDArray[np.int64]:
        """Return how often each key was added before [n]."""
        order = np.argsort(keys, kind="stable")
        asked = keys[order]
        found = np.zeros(len(keys), np.int64)
        for run in self._runs:
            for at in range(0, len(asked), _ASKED):
                some = asked[at : at + _ASKED]
                right, left = (np.searchsorted(run, some, side) for side in ("right", "left"))
                found[at : at + _ASKED] += right - left
                _forget(run)
        counts = np.empty_like(found)
        counts[order] = found
        return counts

    def add(self, keys: Keys) -> None:
        """Remember the keys, repeats included."""
        if not len(keys):
            return
        self._runs.append(np.sort(keys))
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            right, left = self._runs.pop(), self._runs.pop()
            self._runs.append(self._merged(left, right))
            for run in (left, right):
                _remove(run)

    def _merged(self, left: Keys, right: Keys) -> Keys:
        n = len(left) + len(right)
        if n <= IN_MEMORY:
            return np.sort(np.concatenate([left, right]), kind="stable")
        merged = self._mapped(n)
        _merge_into(merged, left, right)
        merged.flush()
        _forget(merged)
        return merged

    def _mapped(self, n: int) -> "np.memmap[tuple[int, ...], np.dtype[np.uint64]]":
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(
                prefix="lifeloop-seen-", dir=self._folder, ignore_cleanup_errors=True
            )
        self._files += 1
        path = Path(self._temporary.name) / f"run{self._files}"
        return np.memmap(path, dtype=np.uint64, mode="w+", shape=(n,))


def _merge_into(out: Keys, left: Keys, right: Keys, *, step: int = STEP) -> None:
    """Merge two sorted runs piece by piece, so that neither is held in memory."""
    i = j = 0
    while i < len(left) or j < len(right):
        a, b = left[i : i + step], right[j : j + step]
        # Everything up to the smaller of the two last keys is complete in both pieces.
        if i + len(a) < len(left) and (not len(b) or j + len(b) >= len(right) or a[-1] <= b[-1]):
            b = b[: np.searchsorted(b, a[-1], "right")]
        elif j + len(b) < len(right):
            a = a[: np.searchsorted(a, b[-1], "right")]
        n = len(a) + len(b)
        out[i + j : i + j + n] = np.sort(np.concatenate([a, b]), kind="stable")
        i, j = i + len(a), j + len(b)
        for run in (out, left, right):
            _forget(run)


def _remove(run: Keys) -> None:
    """Remove the file of a mapped run; where that cannot be while it is mapped, it goes last."""
    file = getattr(run, "filename", None)
    if file is not None:
        with contextlib.suppress(OSError):
            Path(file).unlink()


def _forget(run: Keys) -> None:
    """Give the pages of a mapped run back; they are read again from its file when needed."""
    mapped = getattr(run, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
