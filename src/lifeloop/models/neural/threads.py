"""How many threads torch may use while one network is trained."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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


def workers(threads: int | None) -> ThreadPoolExecutor:
    """Return threads for the parts of a step (None: as many as torch has now).

    Two threads on halves of the rows are faster than two of torch on every small product.
    """
    most = threads or torch.get_num_threads()
    return ThreadPoolExecutor(most, initializer=torch.set_num_threads, initargs=(1,))


def factors(device: str) -> torch.dtype:
    """Return what factors of matrix products in training are rounded to: bfloat16 where it pays."""
    if device == "cpu" and not torch.cpu._is_avx512_bf16_supported():
        return torch.float32
    return torch.bfloat16
