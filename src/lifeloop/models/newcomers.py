"""People without any history: what serves them is learned from people taken for new.

A search, a review or what was stated at sign-up is one vector q. Content compares it with what the
items say; the map (``retrieve/mapped.py``) first carries it into the space of use, where it is near
what people use who use things of that text. A new person's score is

    (1 − m) · content / rms + m · map / rms + what others use (``blended.cold_weights``).

m is learned on the validation slice: people are asked without their history, and the text of one
thing they used before the cut, drawn at random, stands for their words, because few shops have the
words of enough people. It is the best of a few by NDCG@10 of what they did after the cut, and 0
unless the gain over content alone is above one standard error.

Which popularity serves people of whom nothing is known is learned too. The weights of the blend
were learned on people with a history, for whom what everybody uses is old: what is left for them is
what is new. Those who came after the cut are asked or, where they are few, people of the past who
are left out of the counts; the mix of the blend stays unless one popularity alone is above it by
two standard errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lifeloop.contracts import Bool, Double, Int, Queries, Retriever, TrainData
from lifeloop.models.blended import FittedBlend, cold_weights
from lifeloop.models.data import queries
from lifeloop.models.holdout import Holdout, only
from lifeloop.models.retrieve.content import FittedContent
from lifeloop.models.retrieve.mapped import FittedMapped
from lifeloop.models.retrieve.popularity import Popularity
from lifeloop.models.retrieve.topk import best as best_of
from lifeloop.models.scored import rms
from lifeloop.models.validate import ndcgs

MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAST_PEOPLE, MOST_PEOPLE, CELLS = 50, 300, 20_000_000
"""People asked, and scores per mix at most: a large catalogue is asked by fewer people."""
SURE = 2.0
"""Standard errors by which one popularity must lead: several are tried, on few people."""


@dataclass(frozen=True, slots=True, eq=False)
class ByWords:
    """What content and the map weigh for people known by words alone; ``told`` says why."""

    weights: Double  # [2]
    told: str


@dataclass(frozen=True, slots=True, eq=False)
class Common:
    """What the parts that are the same for everybody weigh for new people; ``told`` says why."""

    weights: Double  # [P]
    told: str

    def of(self, places: Sequence[int]) -> "Common":
        """Return the same of some of the parts."""
        return replace(self, weights=np.asarray(self.weights[list(places)]))


def learn_common(
    parts: Sequence[Retriever], weights: Double, cut: Holdout, *, rng: np.random.Generator
) -> Common | None:
    """Return which popularity serves people without history, None for the mix of the blend.

    Parameters
    ----------
    parts, weights : sequence of Retriever, float array [P]
        Of the blend. Popularity is fitted anew here, without the people asked.
    """
    common = [p for p, part in enumerate(parts) if isinstance(part, Popularity)]
    users, items, known = _came(cut, rng=rng)
    if len(common) < 2 or len(np.unique(users)) < LEAST_PEOPLE:
        return None
    nobody = queries([np.empty(0, np.int32)], as_of_us=known.as_of_us)
    said = np.zeros((len(common), known.n_items))
    for n, p in enumerate(common):
        row = parts[p].fit(known, rng=rng).score(nobody)[0]
        row = np.where(row > -np.inf, row, 0.0)
        said[n] = row / rms(row.astype(np.float32), len(row))
    mix = weights[common] if weights[common].any() else np.ones(len(common))
    gain = np.stack([_one_list(row, users, items) for row in (mix @ said, *said)], axis=1)
    mean = gain.mean(axis=0)
    best = int(mean.argmax())
    more = gain[:, best] - gain[:, 0]
    if best == 0 or more.mean() <= SURE * float(more.std() / np.sqrt(len(more))):
        return None
    chosen = np.zeros(len(parts))
    chosen[common[best - 1]] = 1.0
    names = ["as in the blend", *(parts[p].name for p in common)]
    found = ", ".join(f"{name}: {g:.4f}" for name, g in zip(names, mean, strict=True))
    return Common(chosen, f"{len(gain)} taken for new, popularity by NDCG@10 ({found})")


def _came(cut: Holdout, *, rng: np.random.Generator) -> tuple[Int, Int, TrainData]:
    """Return users and items [n] of people taken for new, and what was known without them."""
    data, later = cut.data, cut.later
    if later is not None:
        is_new = ~np.isin(later.user_ix, data.user_ix)
        if len(np.unique(later.user_ix[is_new])) >= LEAST_PEOPLE:
            return later.user_ix[is_new], later.item_ix[is_new], data
    people = np.unique(data.user_ix)
    people = rng.permutation(people)[: min(MOST_PEOPLE, len(people) // 5)]
    out = np.isin(data.user_ix, people)
    return data.user_ix[out], data.item_ix[out], only(data, ~out, as_of_us=data.as_of_us)


def _one_list(score: Double, users: Int, items: Int) -> Double:
    """Return NDCG@10 of one list for everybody, per person."""
    discount = 1.0 / np.log2(np.arange(10) + 2.0)
    top = best_of(score.astype(np.float32), 10)
    worth = np.zeros(len(score))
    worth[top] = discount[: len(top)]
    pair = np.unique(np.stack([users, items]), axis=1)
    people, place, n = np.unique(pair[0], return_inverse=True, return_counts=True)
    hit = np.bincount(place, weights=worth[pair[1]], minlength=len(people))
    return np.asarray(hit / np.cumsum(discount)[np.minimum(n, 10) - 1])


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
        cold = cold_weights(blend.parts, blend.weights, weights, blend.cold)
        one = replace(blend, cold=cold)
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
