"""Work on two cores at a time: fits of parts that know nothing of each other.

Most of a fit is numpy, scipy and BLAS, which leave the interpreter to others while they count. Two
at a time and not more: each may hold a few square matrices.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

AT_ONCE = 2
EVENTS, CELLS = 50_000, 5_000_000
"""Events to learn from, and scores to work out, below which threads cost more than they give."""

T = TypeVar("T")


def together(
    jobs: Sequence[Callable[[], T]], *, first: Sequence[int] = (), worth: bool = True
) -> list[T]:
    """Return what each job returns, in their order, the same as one after the other.

    Parameters
    ----------
    jobs : sequence of callables
        Each with random numbers of its own, so that their order in time does not matter. The first
        that fails, in the order of ``jobs``, is raised.
    first : sequence of int
        Places of jobs to begin with: long ones, so that none is alone at the end.
    worth : bool
        Whether there is enough to do; if not, one after the other.
    """
    workers = min(AT_ONCE, len(jobs), os.cpu_count() or 1)
    if workers < 2 or not worth:
        return [job() for job in jobs]
    with ThreadPoolExecutor(workers, thread_name_prefix="fit") as pool:
        order = [*first, *(n for n in range(len(jobs)) if n not in first)]
        futures = {n: pool.submit(jobs[n]) for n in order}
        return [futures[n].result() for n in range(len(jobs))]
