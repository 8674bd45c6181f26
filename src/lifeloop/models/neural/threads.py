"""How many threads torch may use while one network is trained."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TURN = threading.Lock()


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Hold torch to so many threads (None: its own choice); one training at a time.

    Matrix products may take bfloat16 factors (sums stay float32) where the processor is faster
    at them; training is noisier than that. Both settings belong to the process, so trainings
    take turns, and both are put back.
    """
    with _TURN:
        before, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
        torch.set_num_threads(before if threads is None else threads)
        torch.set_float32_matmul_precision("medium")
        try:
            yield
        finally:
            torch.set_num_threads(before)
            torch.set_float32_matmul_precision(precision)
