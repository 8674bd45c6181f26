"""People without any history: what their words are worth, told by people whose history is hidden.

A search, a review or what was stated at sign-up is one vector q. Content compares it with what the
items say; the map (``retrieve/mapped.py``) first carries it into the space of use, where it is near
what people use who use things of that text. A new person's score is

    (1 − m) · content / rms + m · map / rms + what others use (``blended.cold_weights``).

m is learned on the validation slice: people are asked without their history, and the text of one
thing they used before the cut, drawn at random, stands for their words, because few shops have the
words of enough people. It is the best of a few by NDCG@10 of what they did after the cut, and 0
unless the gain over content alone is above one standard error.
"""

from dataclasses import dataclass, replace

import numpy as np

from lifeloop.contracts import Bool, Double, Queries
from lifeloop.models.blended import FittedBlend, cold_weights
from lifeloop.models.data import queries
from lifeloop.models.holdout import Holdout
from lifeloop.models.retrieve.content import FittedContent
from lifeloop.models.retrieve.mapped import FittedMapped
from lifeloop.models.validate import ndcgs

MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAST_PEOPLE, MOST_PEOPLE, CELLS = 50, 300, 20_000_000
"""People asked, and scores per mix at most: a large catalogue is asked by fewer people."""


@dataclass(frozen=True, slots=True, eq=False)
class ByWords:
    """What content and the map weigh for people known by words alone; ``told`` says why."""

    weights: Double  # [2]
    told: str


def learn_words(
    blend: FittedBlend, cut: Holdout, *, repeats: bool, rng: np.random.Generator
) -> ByWords | None:
    """Return what content and the map weigh for people without history, None for content alone.

    Parameters
    ----------
    blend : FittedBlend
        As fitted on ``cut.data``.
    cut : Holdout
        Histories before the cut and what the same people did after it.
    repeats : bool
        Whether things of the history count as found.
    """
    reads = any(isinstance(part, FittedContent) for part in blend.parts)
    maps = any(isinstance(part, FittedMapped) for part in blend.parts)
    if not reads or not maps or blend.rule != "linear":
        return None
    most = max(LEAST_PEOPLE, min(MOST_PEOPLE, CELLS // max(1, cut.data.n_items)))
    some = cut.thinned(most)
    asked, told = _in_words(some, rng=rng)
    if int(told.sum()) < LEAST_PEOPLE:
        return None
    gain = np.zeros((int(told.sum()), len(MIXES)))
    for n, share in enumerate(MIXES):
        weights = np.array([1.0 - share, share])
        one = replace(blend, cold=cold_weights(blend.parts, blend.weights, weights))
        gain[:, n] = ndcgs(one, some, repeats=repeats, asked=asked)[told]
    mean = gain.mean(axis=0)
    best = int(mean.argmax())
    more = gain[:, best] - gain[:, 0]
    if more.mean() <= float(more.std() / np.sqrt(len(more))):
        return None
    found = ", ".join(f"{s:g}: {g:.4f}" for s, g in zip(MIXES, mean, strict=True))
    return ByWords(
        np.array([1.0 - MIXES[best], MIXES[best]]),
        f"{len(gain)} people without their history, the text of one thing they used for their "
        f"words: share of the map by NDCG@10 ({found})",
    )


def _in_words(cut: Holdout, *, rng: np.random.Generator) -> tuple[Queries, Bool]:
    """Return the people of a slice as if they were new, with words, and a mask [B] of who has."""
    data, past = cut.data, cut.queries
    vectors = np.zeros((len(past), data.content.shape[1]), dtype=np.float32)
    for b in range(len(past)):
        used = past.item_ix[past.indptr[b] : past.indptr[b + 1]]
        rows = data.content_ix[used]
        rows = rows[rows >= 0]
        if len(rows):
            vectors[b] = data.content[int(rng.choice(rows))]
    nothing = [np.empty(0, np.int32)] * len(past)
    asked = queries(nothing, as_of_us=past.as_of_us.tolist(), vectors=vectors)
    return asked, np.asarray(vectors.any(axis=1))
