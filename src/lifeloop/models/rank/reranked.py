"""The fitted ranked blend: scores once, gathers candidates, orders them, traces every amount.

The score of a candidate is the sum of its features' TreeSHAP values. What the features of a part
add belongs to that part and is shared among the person's events in proportion to the part's own
amounts; what the blend's features add is shared among the parts in proportion to their terms in
it; how near an item is to what the person wrote stands under the name "written"; the rest (the
item, the person, the base value) under the name "ranker".

An item that nobody has used has no behaviour for trees to read. It keeps the place the blend gives
it: of the candidates' scores it gets the one at its place in the blend. People without a history
are served by the blend.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import (
    Bool,
    Candidates,
    Double,
    FittedRetriever,
    Float,
    Int,
    Queries,
)
from lifeloop.errors import BundleError
from lifeloop.models.blended import FittedBlend
from lifeloop.models.context import FittedContext
from lifeloop.models.data import part_of
from lifeloop.models.rank.boosted import FittedBooster
from lifeloop.models.rank.candidates import Lists, gather
from lifeloop.models.rank.features import WRITTEN, features, names
from lifeloop.models.rank.items import ItemFacts
from lifeloop.models.rank.logistic import FittedLogistic
from lifeloop.models.rank.traces import Amounts, place_in_blend, traced
from lifeloop.models.retrieve.topk import as_list, best, fitting, has_history, row_of_mask
from lifeloop.models.scored import Scored


@dataclass(frozen=True, slots=True)
class RankerName:
    """Stands among the parts for what the trees add themselves."""

    name: str = "ranker"


@dataclass(frozen=True, slots=True)
class WrittenName:
    """Stands among the parts for what the trees add for what the person wrote."""

    name: str = "written"


class Ordered(NamedTuple):
    """Some items of one query as the trees see them."""

    item_ix: Int  # [m]
    features: Float  # [m, F]
    score: Double  # [m]


@dataclass(frozen=True, slots=True, eq=False)
class RankedScored:
    """The answer to B queries: candidates in the order of the trees; see ``scored.Scored``."""

    fitted: "FittedRanked"
    trees: FittedBooster | FittedLogistic
    queries: Queries
    cold: Scored | None  # the blend's answer, for everybody else
    warm: Bool  # [B] people with a history who do not ask for something in words
    _lists: dict[int, Lists] = field(default_factory=dict, repr=False)  # asked for once
    _told: dict[int, "Ordered"] = field(default_factory=dict, repr=False)  # the candidates
    _slate: dict[int, tuple[Int, Double]] = field(default_factory=dict, repr=False)  # last traces

    @property
    def parts(self) -> tuple[Any, ...]:
        """The parts, the ranker for what is not theirs, then what was written, the words asked for
        and the context, each if there is any."""
        own = self.fitted.blend.parts
        more = () if self.cold is None else self.cold.parts[len(own) :]
        if self.cold is None and self._context is not None:
            more = (self._context,)
        wrote = () if self.queries.written is None else (WrittenName(),)
        return (*own, RankerName(), *wrote, *more)

    @property
    def _context(self) -> FittedContext | None:
        return None if self.queries.situation is None else self.fitted.blend.context

    @property
    def total(self) -> Float:
        """Return [B, I]; -inf where an item is no candidate."""
        return self.scores(None)

    def retrieve(self, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best k allowed items; the reason is ``no_history`` for a fallback slate."""
        rows = []
        for b in range(len(self.queries)):
            may = row_of_mask(allowed, b)
            if self.warm[b]:
                item_ix, own = self._candidates(b, may)  # allowed already
                top = best(own, k)
                rows.append((item_ix[top], own[top]))
            else:
                whole = self._of_blend(b)
                top = best(whole, k, allowed=may)
                rows.append((top, whole[top]))
        n_items = self.fitted.n_items
        found = as_list(rows, self.queries, k=k, allowed=allowed, n_items=n_items, personal=True)
        if self.cold is None:
            return found
        reasons = self.cold.retrieve(k, allowed=allowed).reason
        pairs = zip(self.warm, found.reason, reasons, strict=True)
        return Candidates(
            found.item_ix, found.score, tuple(own if warm else blend for warm, own, blend in pairs)
        )

    def scores(self, allowed: Bool | None) -> Float:
        """Return [B, I] with candidates gathered among the allowed items only."""
        scores = np.full((len(self.queries), self.fitted.n_items), -np.inf, np.float32)
        for b in range(len(self.queries)):
            if self.warm[b]:
                picked, own = self._candidates(b, row_of_mask(allowed, b))
                scores[b, picked] = own
            else:
                scores[b] = self._of_blend(b)
        return scores

    def _candidates(self, b: int, allowed: Bool | None) -> tuple[Int, Float]:
        """Return the candidates of a warm query, ascending, and what they come to."""
        picked = gather(self.lists(b), allowed=allowed)
        told = self._told[b] = self._ordered(b, picked)
        return picked, (told.score + self._moved(b, picked)).astype(np.float32)

    def _of_blend(self, b: int) -> Float:
        """Return what the blend says of every item [I] to a query that is not warm."""
        if self.cold is None:
            return np.full(self.fitted.n_items, -np.inf, np.float32)
        return np.asarray(self.cold.total[b])

    def by_part(self, b: int, item_ix: Int) -> Double:
        """Return [parts, m]: what each adds to the scores of m items; columns sum to them."""
        return np.asarray(self.traces(b, item_ix).sum(axis=2))

    def sources(self, b: int, item_ix: Int) -> tuple[str, ...]:
        """Return for each of m items the retriever that adds most."""
        amounts = self.by_part(b, item_ix)[: len(self.fitted.blend.parts)]
        return tuple(self.parts[p].name for p in amounts.argmax(axis=0))

    def contributions(self, b: int, item_ix: int) -> Double:
        """Return one amount per history event of query b plus the bias, summing to the score."""
        return np.asarray(self.amounts(b, item_ix).sum(axis=0))

    def amounts(self, b: int, item_ix: int) -> Double:
        """Return the contributions of query b's events and the bias [n+1], per part."""
        return np.asarray(self.traces(b, np.array([item_ix], dtype=np.int32))[:, 0])

    def traces(self, b: int, item_ix: Int) -> Double:
        """Return what ``amounts`` says for m items at once: [parts, m, n+1]."""
        held = self._slate.get(b)
        if held is None or not np.array_equal(held[0], item_ix):
            held = self._slate[b] = (item_ix, self._traced(b, item_ix))
        return held[1]

    def _traced(self, b: int, item_ix: Int) -> Double:
        if not self.warm[b] and self.cold is not None:
            own = self.cold.traces(b, item_ix)
            names = [part.name for part in self.cold.parts]
            nothing = np.zeros(own.shape[1:])
            rows = [own[names.index(p.name)] if p.name in names else nothing for p in self.parts]
            return np.stack(rows)
        these = self._asked_for(b, item_ix)
        told = Amounts(
            shares=self.trees.shares(these.features),
            names=self.trees.names,
            score=these.score,
            terms=self.lists(b).terms(item_ix),
            fresh=self.fitted.blend.is_fresh[item_ix],
        )
        made = traced(told, self.fitted.blend.parts, self.queries, b, item_ix)
        more = np.zeros((len(self.parts) - len(made), *made.shape[1:]))
        if len(more) and self._context is not None:
            more[-1, :, -1] = self._moved(b, item_ix)  # the context is the last of them
        if self.queries.written is not None:
            near = _near(told, these.features)
            more[0, :, -1] += near
            made[-1, :, -1] -= near
        return np.concatenate([made, more])

    def _moved(self, b: int, item_ix: Int) -> Double:
        """Return what the situation adds [m]: trees score in log odds, so the log of its factor."""
        situation, context = self.queries.situation, self._context
        gain = None if situation is None or context is None else context.gain(situation[b])
        return (
            np.zeros(len(item_ix)) if gain is None else np.log1p(gain[item_ix].astype(np.float64))
        )

    def lists(self, b: int) -> Lists:
        """Return what every part says to query b; they are asked once."""
        held = self._lists.get(b)
        if held is None:
            blend, repeats = self.fitted.blend, self.fitted.repeats
            held = self._lists[b] = Lists.of(self.queries, b, blend=blend, repeats=repeats)
        return held

    def _features(self, b: int, item_ix: Int) -> Float:
        parts, facts = self.fitted.parts, self.fitted.facts
        told = features(self.lists(b), self.queries, b, item_ix, parts=parts, facts=facts)
        columns = self.fitted.columns
        return told if columns is None else np.ascontiguousarray(told[:, columns])

    def _asked_for(self, b: int, item_ix: Int) -> "Ordered":
        """Return some items, from the candidates that were put in order where all are of them."""
        held = self._told.get(b)
        if held is not None:
            place = np.minimum(np.searchsorted(held.item_ix, item_ix), len(held.item_ix) - 1)
            if len(held.item_ix) and (held.item_ix[place] == item_ix).all():
                return Ordered(item_ix, held.features[place], held.score[place])
        return self._ordered(b, item_ix)

    def _ordered(self, b: int, item_ix: Int) -> "Ordered":
        """Return the scores of some items; they do not depend on which others are asked for."""
        is_fresh = self.fitted.blend.is_fresh
        fresh = is_fresh[item_ix]
        if not fresh.any():
            told = self._features(b, item_ix)
            return Ordered(item_ix, told, self.trees.score(told))
        lists = self.lists(b)
        usual = gather(lists, allowed=None)
        usual = usual[~is_fresh[usual]]
        every = np.union1d(usual, item_ix)  # each is asked about once
        told = self._features(b, every)
        held = self.trees.score(told)
        mine = np.searchsorted(every, item_ix)
        scores = held[mine]
        places = held[np.searchsorted(every, usual)]
        scores[fresh] = place_in_blend(lists.total[usual], places, lists.total[item_ix[fresh]])
        told = told[mine]
        return Ordered(item_ix, told, scores)


@dataclass(frozen=True, slots=True, eq=False)
class FittedRanked:
    """A fitted blend and the trees that order its candidates; without trees, the blend."""

    name: str
    blend: FittedBlend
    booster: FittedBooster | FittedLogistic | None
    facts: ItemFacts
    repeats: bool

    @property
    def parts(self) -> tuple[FittedRetriever, ...]:
        """The retrievers."""
        return self.blend.parts

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noted while everything was learned."""
        return self.blend.notes

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return self.blend.n_items

    @property
    def context(self) -> FittedContext | None:
        """What situations change, None: nothing."""
        return self.blend.context

    def part(self, name: str) -> FittedRetriever | None:
        """Return the fitted part of that name, None where there is none."""
        return self.blend.part(name)

    @property
    def reads_written(self) -> bool:
        """Whether what a person wrote can change a slate: else no request needs to read it."""
        return self.booster is not None and WRITTEN in self.booster.used

    @property
    def columns(self) -> Int | None:
        """Places of the features that the ranker was trained on; None: all of them, in order.

        Raises
        ------
        BundleError
            It was trained on a feature that this version does not know.
        """
        if self.booster is None:
            return None
        parts = tuple(part.name for part in self.parts)
        return _columns(self.booster.names, parts, self.facts.levels)

    def scored(self, queries: Queries) -> Scored | RankedScored:
        """Score every item once, for everything that a request needs."""
        warm = has_history(queries)
        if queries.mask is not None:
            warm = warm & ~queries.mask
        if self.booster is None or not warm.any():
            return self.blend.scored(queries)
        cold = None if warm.all() else self.blend.scored(queries)
        return RankedScored(self, self.booster, queries, cold, warm)

    def score(self, queries: Queries) -> Float:
        """Return [B, I]; -inf where an item is no candidate, or no part can say anything."""
        return self.scored(queries).total

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best allowed items; the reason is ``no_history`` for a fallback slate."""
        if self.booster is None:
            return self.blend.retrieve(queries, k, allowed=allowed)
        fitting(allowed, len(queries), self.n_items)
        return self.scored(queries).retrieve(k, allowed=allowed)

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return one amount per history event of query b, plus the bias last."""
        return self.scored(part_of(queries, b, b + 1)).contributions(0, item_ix)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state; the blend's own arrays keep their names."""
        own = dict(self.blend.arrays())
        own["ranked.name"] = np.frombuffer(self.name.encode(), np.uint8).copy()
        own["ranked.repeats"] = np.array([self.repeats])
        own |= self.facts.arrays()
        return own if self.booster is None else own | self.booster.arrays()

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        made = cls(
            name=bytes(arrays["ranked.name"]).decode(),
            blend=FittedBlend.load(arrays),
            booster=_ranker(arrays),
            facts=ItemFacts.load(arrays),
            repeats=bool(arrays["ranked.repeats"][0]),
        )
        _ = made.columns  # refused here, and not at the first request
        return made


def _near(told: Amounts, features: Float) -> Double:
    """Return what nearness to the person's words adds [m], 0 where it is missing or unread."""
    if WRITTEN not in told.names:  # trained before there was such a feature
        return np.zeros(len(features))
    place = told.names.index(WRITTEN)
    silent = np.isnan(features[:, place]) | told.fresh
    return np.where(silent, 0.0, told.shares[:, place])


@lru_cache(maxsize=64)
def _columns(wanted: tuple[str, ...], parts: tuple[str, ...], levels: int) -> Int | None:
    known = {name: place for place, name in enumerate(names(parts, levels))}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise BundleError(
            "the ranker of this bundle was trained on features that this version does not know",
            got=", ".join(unknown[:10]),
            allowed=f"{len(known)} features, such as {next(iter(known))}",
            hint="lifeloop train, or install the version that made the bundle",
        )
    places = np.array([known[name] for name in wanted], np.int32)
    return None if wanted == tuple(known) else places


def _ranker(arrays: Mapping[str, NDArray[Any]]) -> FittedBooster | FittedLogistic | None:
    if "booster.text" in arrays:
        return FittedBooster.load(arrays)
    return FittedLogistic.load(arrays) if "logistic.names" in arrays else None
