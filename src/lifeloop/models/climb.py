"""Settings of a part chosen on the validation slice: up and down a ladder while it gains.

A part that has ``ladder()`` offers itself with one setting in several strengths, weakest first,
itself among them. How strong a ridge should be differs by a factor of fifty between data sets
(on ml-1m's split in time λ = 100 gives NDCG@10 .26, a twenty times larger one .29), and a wrong
one cannot be repaired by the weight in the blend.

A part that solves for its ``n_items`` most-used items, at a cost of their number cubed, climbs with
the ``FEWER`` most used where the catalogue is large, and is fitted in full where it arrives. Where
it can tell what it counts from what it solves (``counted``, ``solved``), it counts once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lifeloop.contracts import FittedRetriever, Retriever
from lifeloop.models.holdout import Holdout

FEWER, LARGE = 2_500, 4_000
"""Items that a part climbs with, where it would solve for more than ``LARGE``."""

Judge = Callable[[FittedRetriever], float]


@dataclass(frozen=True, slots=True, eq=False)
class Climbed:
    """The step chosen, as fitted on the slice, and what was tried."""

    part: Retriever
    fitted: FittedRetriever
    told: str | None


def climb(part: Retriever, inner: Holdout, judge: Judge, *, rng: np.random.Generator) -> Climbed:
    """Return the best step of the part's ladder found by going on while it gains.

    Parameters
    ----------
    part : Retriever
        With or without ``ladder``; without, it is fitted as it is.
    judge : callable
        A fitted part to its NDCG@10 on the slice.
    """
    ladder: Sequence[Retriever] = getattr(part, "ladder", lambda: (part,))()
    seed = int(rng.integers(2**31))
    place = ladder.index(part)
    solved = getattr(part, "n_items", 0) if len(ladder) > 1 else 0
    fewer = solved > LARGE and inner.data.n_items > LARGE
    fitted: dict[int, FittedRetriever] = {}
    value: dict[int, float] = {}

    sums: list[Any] = []

    def at(step: int) -> float:
        if step not in value:
            tried: Any = ladder[step]
            tried = replace(tried, n_items=FEWER) if fewer else tried
            if len(ladder) > 1 and hasattr(tried, "counted"):
                if not sums:
                    sums.append(tried.counted(inner.data))
                fitted[step] = tried.solved(sums[0].copy())
            else:
                fitted[step] = tried.fit(inner.data, rng=np.random.default_rng(seed))
            value[step] = judge(fitted[step]) if len(ladder) > 1 else 0.0
        return value[step]

    at(place)
    for way in (1, -1):
        before = place
        while 0 <= place + way < len(ladder) and at(place + way) > value[place]:
            place += way
        if place != before:
            break
    told = None
    if len(value) > 1:
        tried = ", ".join(f"{_words(ladder[s])}: {value[s]:.4f}" for s in sorted(value))
        few = f", {FEWER:,} items" if fewer else ""
        told = f"{part.name}: setting by NDCG@10 on validation ({tried}{few})"
    whole = fitted[place]
    if fewer:
        whole = ladder[place].fit(inner.data, rng=np.random.default_rng(seed))
    return Climbed(ladder[place], whole, told)


def _words(part: Retriever) -> str:
    told = getattr(part, "step", None)
    return part.name if told is None else str(told)
