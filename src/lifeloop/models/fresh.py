"""Items that nobody has used: what their content is worth, told by the items that people did use.

Behaviour says nothing of a new item, so its score is its content's alone. The weight is the best
slope of the blend's score on the content's, over the used items of some requests,

    α = Σ_b Σ_i (total − mean_b)(c − mean_b c) / Σ_b Σ_i (c − mean_b c)²,   c = content score / rms,

so that a new item gains by its similarity what used items gain by theirs. A slope through the
origin would not do: where popularity carries the blend every used item has a high score, the
slope then says so of content too, and new items push what everybody watches off the list
(NDCG@10 on ml-1m's split in time .15 instead of .19 on validation).
Nor may the slope put new items above where used items of the same content are: where the blend is
carried by scores that are mostly below zero, as a network's logits are, the line that fits crosses
zero at some content, and α c without that crossing is too high everywhere. So α is at most

    Σ_b Σ_top t c / Σ_b Σ_top c²,   top = the used items of the highest c of each request.

What other parts say of new items (networks that read texts do) counts for nothing there: it is in
the totals that α was learned from.
Where the blend has a map from text into the space of use, what a new item is worth is learned on
items made new: a share of the used items loses every use, the map is fitted without them, and
people who used them are asked with the rest of their history. c = (1 − m) · content + m · map, both
over their rms; m is the best of a few by NDCG@10 of those items among themselves, 0 unless the gain
over content is above one standard error; α is the slope of the blend's score, which knows their
uses, on c.
With equal reciprocal ranks there is nothing to learn from: content then speaks for all personal
parts, none of which can know the item.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lifeloop.contracts import (
    Bool,
    Double,
    FittedRetriever,
    Float,
    Int,
    Queries,
    Retriever,
    TrainData,
)
from lifeloop.models.blended import FittedBlend
from lifeloop.models.data import histories, part_of
from lifeloop.models.holdout import only
from lifeloop.models.retrieve.content import FittedContent
from lifeloop.models.retrieve.mapped import FittedMapped
from lifeloop.models.scored import rms

ASKED = 64
"""Requests looked at."""
MADE_NEW = 0.15
"""Share of the used items that are made new to learn m."""
MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)
OPINIONS = 4
"""Requests at which a part is asked whether it has an opinion on new items."""
TOP = 0.05
"""Share of the used items whose content is the nearest to a request."""
PEOPLE, LEAST_PEOPLE = 300, 50


@dataclass(slots=True)
class Slope:
    """The slope of totals on scores, summed up over requests; at most the ratio at the top."""

    together: float = 0.0
    alone: float = 0.0
    top_together: float = 0.0
    top_alone: float = 0.0

    def add(self, total: Double, score: Double) -> None:
        """Take in what used items [n] got at one request."""
        spread = score - score.mean()
        self.together += float(spread @ (total - total.mean()))
        self.alone += float(spread @ spread)
        n = max(1, round(TOP * len(score)))
        top = np.argpartition(-score, n - 1)[:n]
        self.top_together += float(total[top] @ score[top])
        self.top_alone += float(score[top] @ score[top])

    @property
    def value(self) -> float:
        """The slope, 0 where nothing is gained by a higher score."""
        if self.alone <= 0 or self.top_alone <= 0:
            return 0.0
        return max(0.0, min(self.together / self.alone, self.top_together / self.top_alone))


@dataclass(frozen=True, slots=True)
class Unseen:
    """What content and the map weigh for items that nobody has used; ``told`` says how it came."""

    content: float
    mapped: float
    told: str


def fresh_items(data: TrainData) -> Bool:
    """Return [I], True for items without any interaction."""
    return np.asarray(np.bincount(data.item_ix, minlength=data.n_items) == 0)


def fresh_weights(blend: FittedBlend, asked: Queries, unseen: Unseen | None = None) -> Double:
    """Return the weights [P] for items that nobody has used; content never weighs less there."""
    weights = np.array(
        [
            0.0 if _tells_apart(part, blend.is_fresh, asked) else weight
            for part, weight in zip(blend.parts, blend.weights, strict=True)
        ]
    )
    if unseen is not None:
        for p, part in enumerate(blend.parts):
            if isinstance(part, FittedContent):
                weights[p] = unseen.content
            elif isinstance(part, FittedMapped):
                weights[p] = unseen.mapped
        return weights
    if blend.rule == "rrf":
        personal = np.array([hasattr(part, "at") for part in blend.parts])
        reads = np.array([isinstance(part, FittedContent) for part in blend.parts])
        return np.where(reads, blend.weights[personal].sum(), weights)
    used = np.flatnonzero(~blend.is_fresh)
    for p, part in enumerate(blend.parts):
        if not isinstance(part, FittedContent) or not used.size:
            continue
        slope = Slope()
        for b in range(min(ASKED, len(asked))):
            one = part_of(asked, b, b + 1)
            content = part.score(one)[0]
            content[content == -np.inf] = 0.0
            content /= np.float32(rms(content, blend.n_items))
            total = blend.scored(one).total
            total = np.where(total > -np.inf, total, np.float32(0.0))
            slope.add(total[0, used].astype(np.float64), content[used].astype(np.float64))
        weights[p] = max(weights[p], slope.value)
    return weights


def _tells_apart(part: FittedRetriever, is_fresh: Bool, asked: Queries) -> bool:
    """Whether a part other than content and the map has an opinion on items that nobody used."""
    if isinstance(part, FittedContent | FittedMapped):
        return False
    for b in range(min(OPINIONS, len(asked))):
        score = part.score(part_of(asked, b, b + 1))[0, is_fresh]
        if np.any(score[score > -np.inf] != 0):
            return True
    return False


def learn_unseen(
    blend: FittedBlend,
    parts: Sequence[Retriever],
    data: TrainData,
    *,
    rng: np.random.Generator,
) -> Unseen | None:
    """Return what content and the map weigh for new items, None where that cannot be learned.

    Parameters
    ----------
    blend : FittedBlend
        As fitted on ``data``; its parts in the order of ``parts``.
    """
    reads = [p for p, part in enumerate(blend.parts) if isinstance(part, FittedContent)]
    maps = [p for p, part in enumerate(blend.parts) if isinstance(part, FittedMapped)]
    used = np.flatnonzero(~blend.is_fresh & (data.content_ix >= 0))
    if not reads or not maps or blend.rule != "linear" or len(used) < LEAST_PEOPLE:
        return None
    content, mapped = blend.parts[reads[0]], blend.parts[maps[0]]
    made_new = np.zeros(data.n_items, dtype=np.bool_)
    made_new[rng.permutation(used)[: int(MADE_NEW * len(used))]] = True
    rest = only(data, ~made_new[data.item_ix], as_of_us=data.as_of_us)
    without: FittedRetriever = parts[maps[0]].fit(rest, rng=rng)
    if isinstance(mapped, FittedMapped) and isinstance(without, FittedMapped):
        without = without.at(mapped.half_life_events)
    asked, targets = _people(data, rest, made_new, rng=rng)
    if len(asked) < LEAST_PEOPLE:
        return None
    new = np.flatnonzero(made_new)
    gain = np.zeros((len(asked), len(MIXES)))
    slopes = [Slope() for _ in MIXES]
    for b in range(len(asked)):
        one = part_of(asked, b, b + 1)
        c, m = (_in_rms(part.score(one)[0])[new] for part in (content, without))
        total = blend.scored(one).total[0, new]
        t = np.where(total > -np.inf, total, 0.0).astype(np.float64)
        hit = np.isin(new, targets[b])
        for n, share in enumerate(MIXES):
            mix = (1.0 - share) * c + share * m
            gain[b, n] = _ndcg(mix, hit)
            slopes[n].add(t, mix)
    more = gain - gain[:, :1]
    best = int(gain.mean(axis=0).argmax())
    error = float(more[:, best].std() / np.sqrt(len(more)))
    told = ", ".join(f"{s:g}: {g:.4f}" for s, g in zip(MIXES, gain.mean(axis=0), strict=True))
    told = (
        f"{len(new)} used items made new, {len(asked)} people: share of the map by NDCG@10 ({told})"
    )
    slope = slopes[best].value
    if more[:, best].mean() <= error or slope <= 0:
        return None
    return Unseen(slope * (1.0 - MIXES[best]), slope * MIXES[best], told)


def _people(
    data: TrainData, rest: TrainData, made_new: Bool, *, rng: np.random.Generator
) -> tuple[Queries, list[Int]]:
    """Return histories among the other items, and what of the new ones each person used."""
    new, other = np.zeros(data.n_users, np.bool_), np.zeros(data.n_users, np.bool_)
    new[data.user_ix[made_new[data.item_ix]]] = True
    other[rest.user_ix] = True
    users = rng.permutation(np.flatnonzero(new & other))[:PEOPLE]
    users = np.sort(users).astype(np.int32)
    lo, hi = (np.searchsorted(data.user_ix, users, side=side) for side in ("left", "right"))
    targets = [data.item_ix[a:b][made_new[data.item_ix[a:b]]] for a, b in zip(lo, hi, strict=True)]
    return histories(rest, users, as_of_us=data.as_of_us), targets


def _in_rms(scores: Float) -> Double:
    known = np.where(scores > -np.inf, scores, 0.0).astype(np.float64)
    return known / rms(known.astype(np.float32), len(known))


def _ndcg(score: Double, hit: Bool) -> float:
    """Return NDCG@10; ties count against the targets."""
    order = np.lexsort((hit, -score))[:10]
    discount = 1.0 / np.log2(np.arange(10) + 2.0)
    return float(discount[: len(order)] @ hit[order] / discount[: int(hit.sum())].sum())
