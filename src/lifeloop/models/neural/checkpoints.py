"""Where an interrupted training goes on: anything that keeps one block of bytes."""

import hashlib
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from lifeloop.contracts import TrainData


class Checkpoints(Protocol):
    """Keeps the newest state of each training; ``store.checkpoints`` has one in files."""

    def load(self, key: str) -> bytes | None:
        """Return what was saved last under ``key``, None where nothing is kept."""
        ...

    def save(self, key: str, state: bytes) -> None:
        """Replace what was kept under ``key``, whole or not at all."""
        ...

    def clear(self, key: str) -> None:
        """Forget it: the training is over."""
        ...


def fingerprint(data: TrainData, settings: Iterable[object]) -> str:
    """Return a hash of everything a training depends on; a checkpoint of another is not used."""
    found = hashlib.sha256(repr(tuple(settings)).encode())
    found.update("\0".join(data.item_ids).encode())
    for array in (
        data.user_ix,
        data.item_ix,
        data.t_us,
        data.weight,
        data.content,
        data.content_ix,
    ):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
