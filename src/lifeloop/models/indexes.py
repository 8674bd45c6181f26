"""Indexes over the vectors of a blend's parts, built once when everything is fitted."""

import numpy as np

from lifeloop.contracts import FittedRetriever
from lifeloop.errors import MissingExtra
from lifeloop.models.retrieve.content import FittedContent


def indexed(
    parts: list[FittedRetriever], *, rng: np.random.Generator
) -> tuple[list[FittedRetriever], tuple[str, ...]]:
    """Return the parts with an index where there are many vectors, and what is to be said of it.

    Parameters
    ----------
    parts : list of FittedRetriever [P]
        Only content has vectors to index; the others come back as they are.
    """
    made, notes = list(parts), []
    for p, part in enumerate(parts):
        if not isinstance(part, FittedContent):
            continue
        try:
            made[p] = indexed = part.indexed(rng=rng)
        except MissingExtra:
            notes.append(
                f"{part.name}: all {len(part.content):,} vectors are read for every request; "
                "pip install 'lifeloop[ann]' and train again for an index"
            )
            continue
        if indexed.near is not None:
            notes.append(
                f"{part.name}: an index of {len(part.content):,} vectors, which found "
                f"{indexed.near.recall:.3f} of the exact 100 nearest"
            )
    return made, tuple(notes)
