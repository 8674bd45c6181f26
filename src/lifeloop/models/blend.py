"""The blend, called "lifeloop": what each retriever is worth here is learned, never assumed.

Order information wins where the next event follows at once and loses over weeks, so the
half-lives and the weights are chosen per data set and horizon, on a slice of time that is cut
from the training data; then every part is fitted again on everything.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from lifeloop.contracts import FittedRetriever, Retriever, TrainData
from lifeloop.errors import InputError
from lifeloop.models.blended import FittedBlend, Rule, cold_weights, filled
from lifeloop.models.climb import Climbed, Judge, climb
from lifeloop.models.context import lifts, with_powers
from lifeloop.models.fresh import fresh_items, fresh_weights, learn_unseen
from lifeloop.models.holdout import Holdout, Horizon, hold_out
from lifeloop.models.indexes import indexed
from lifeloop.models.learned import Learned
from lifeloop.models.newcomers import learn_common, learn_words
from lifeloop.models.settings import settings_of
from lifeloop.models.situated import learn_powers
from lifeloop.models.together import EVENTS, together
from lifeloop.models.tune import Tuning, tuned
from lifeloop.models.validate import candidate_table, joined, validation_ndcg
from lifeloop.models.weights import learn_weights, ndcg_at_10

HALF_LIVES: tuple[float | None, ...] = (None, 20.0, 7.0, 3.0, 1.5)
"""Half-lives of the history, in events, that are tried for each part."""
BEST_OF = 3
"""Parts that are judged on everybody asked; the others lost on fewer people."""
LEAST_TRIED, LEAST_ASKED, CELLS = 200, 400, 80_000_000
"""Scores of one part on the whole slice; a large catalogue is validated on fewer people."""


@dataclass(frozen=True, slots=True)
class Blend:
    """Parts and how they are put together.

    Parameters
    ----------
    parts : tuple of Retriever
        Fitted in this order; names must differ.
    rule : {"linear", "rrf"}
        Learned linear weights, or equal reciprocal ranks. See ``blended``.
    horizon : {"last", "time", "basket"}
        Validate on each person's last event, on the last ``share`` of time, or on everything
        of each person's last moment.
    repeats : bool
        Whether items of the history may be recommended, and so count in validation.
    cuts : int
        Except with ``horizon="last"``: slices at most, until there are as many people as are asked.
    max_queries : int
        People validated on at most; fewer (not under 400) for catalogues above 80,000 items.
    tuning : Tuning
        What may be spent on a search for the settings of each part; see ``tune``.
    """

    parts: tuple[Retriever, ...]
    rule: Rule = "linear"
    horizon: Horizon = "time"
    repeats: bool = False
    share: float = 0.15
    cuts: int = 3
    depth: int = 50
    max_queries: int = 1000
    min_queries: int = 50
    tuning: Tuning = field(default_factory=Tuning)
    name: str = "lifeloop"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> FittedBlend:
        """Choose half-lives and weights on the inner slice, then fit the parts on everything."""
        split_rng, inner_rng, final_rng = rng.spawn(3)
        cuts = self.slices(data, rng=split_rng)
        learned = self.learn(cuts, rng=inner_rng).lean()
        learned = replace(learned, fitted=())  # they need the memory
        return self.finish(data, learned, rng=final_rng)

    def slices(
        self, data: TrainData, *, rng: np.random.Generator, last: int = 1, most: int | None = None
    ) -> tuple[Holdout, ...]:
        """Cut validation slices from the training data, newest first; see ``hold_out``.

        One slice of time holds the fashion of its weeks. Where it also holds few people, earlier
        ones are cut as well, each from what lies before the one after it. Where it holds too few
        to learn from (most people left long ago), each person's last event is held out instead.
        """
        most = self._at_most(data) if most is None else most
        cuts, enough = list[Holdout](), min(most, self.max_queries)
        whole = data
        for split_rng in rng.spawn(1 if self.horizon == "last" else self.cuts):
            inner = hold_out(
                data,
                horizon=self.horizon,
                share=self.share / (1.0 - len(cuts) * self.share),
                repeats=self.repeats,
                max_queries=most,
                last=last,
                rng=split_rng,
            )
            if cuts and not len(inner.queries):
                break
            cuts.append(inner)
            data = inner.data
            # earlier slices steady what the newest says; they do not speak in its place
            few = len(cuts[0].queries) < self.min_queries
            if few or sum(len(cut.queries) for cut in cuts) >= enough:
                break
        if self.horizon != "last" and len(cuts[0].queries) < self.min_queries:
            ended = hold_out(
                whole,
                horizon="last",
                share=self.share,
                repeats=self.repeats,
                max_queries=most,
                last=last,
                rng=rng.spawn(1)[0],
            )
            if len(ended.queries) >= self.min_queries:
                return (ended,)
        return tuple(cuts)

    def learn(self, cuts: tuple[Holdout, ...], *, rng: np.random.Generator) -> Learned:
        """Return what the slices say of half-lives and weights."""
        names = [part.name for part in self.parts]
        if not names or len(set(names)) != len(names):
            raise InputError("a blend needs parts of different names", got=names)
        some = [cut.thinned(self._at_most(cut.data)) for cut in cuts]
        rule, notes, n_queries = self.rule, [], sum(len(cut.queries) for cut in some)
        half_lives: list[tuple[float | None] | None] = [None] * len(names)
        weights = np.ones(len(names))
        fitted: list[list[FittedRetriever]] = []
        parts: list[Retriever] = list(self.parts)
        if n_queries < self.min_queries:
            if rule == "linear":
                notes.append(
                    f"{n_queries} people with a history and a later event, {self.min_queries} "
                    "needed to learn weights: reciprocal ranks with equal weights"
                )
            rule = "rrf"
        else:
            rngs = rng.spawn(len(names))
            judge = self._judge(some[0])
            worth = _worth(cuts[0].data)

            def climbing(part: Retriever, r: np.random.Generator) -> Climbed:
                found = climb(part, cuts[0], judge, rng=r)
                return tuned(found, cuts[0], judge, budget=self.tuning, rng=r)

            climbed = together(
                [partial(climbing, part, r) for part, r in zip(self.parts, rngs, strict=True)],
                first=[p for p, part in enumerate(self.parts) if hasattr(part, "ladder")],
                worth=worth,
            )
            parts = [_settled(found.part, found.fitted) for found in climbed]
            notes += [found.told for found in climbed if found.told]
            fitted = [
                [found.fitted for found in climbed],
                *(_fitted(parts, cut.data, rngs) for cut in cuts[1:]),
            ]
            fading = [p for p in range(len(names)) if hasattr(fitted[0][p], "at")]
            tried = [
                [(each[p], cut) for each, cut in zip(fitted, some, strict=True)] for p in fading
            ]
            jobs = [partial(_best_half_life, t, repeats=self.repeats) for t in tried]
            suited = together(jobs, worth=worth)
            for p, (half_life, told) in zip(fading, suited, strict=True):
                half_lives[p] = (half_life,)
                for each in fitted:
                    each[p] = each[p].at(half_life)  # type: ignore[attr-defined]
                notes.append(told)
            if rule == "linear":
                table = joined(
                    [
                        candidate_table(each, cut, depth=self.depth, repeats=self.repeats)
                        for each, cut in zip(fitted, some, strict=True)
                    ]
                )
                weights = learn_weights(table)
                told = ", ".join(f"{n} {w:.3f}" for n, w in zip(names, weights, strict=True))
                notes.append(
                    f"weights learned on {n_queries} {_asked(self.horizon, cuts[0].horizon)}: "
                    f"{told}; "
                    f"NDCG@10 {ndcg_at_10(table, weights):.4f} on the validation candidates"
                )
        learned = Learned(
            cuts=cuts,
            parts=tuple(parts),
            rule=rule,
            half_lives=tuple(half_lives),
            weights=weights,
            notes=tuple(notes),
            fitted=tuple(tuple(each) for each in fitted),
        )
        if rule == "linear" and len(names) > 1:
            learned = self._or_best(learned, some)
        if rule == "linear":
            learned = self._unseen(learned, rng=rng)
        return self._situated(learned, some)

    def _unseen(self, learned: Learned, *, rng: np.random.Generator) -> Learned:
        """Return the same with what new items are worth, and how new people are served."""
        cut = learned.cuts[0]
        data = cut.data
        blend = self.of(data, learned.fitted[0], learned)
        unseen = learn_unseen(blend, learned.parts, data, rng=rng.spawn(1)[0])
        common = learn_common(learned.parts, learned.weights, cut, rng=rng.spawn(1)[0])
        learned = replace(learned, common=common)
        blend = self.of(data, learned.fitted[0], learned)
        words = learn_words(blend, cut, repeats=self.repeats, rng=rng.spawn(1)[0])
        notes = [] if unseen is None else [f"new items: {unseen.told}"]
        notes += [f"new people: {found.told}" for found in (common, words) if found is not None]
        return replace(learned, unseen=unseen, words=words, notes=(*learned.notes, *notes))

    def _situated(self, learned: Learned, some: Sequence[Holdout]) -> Learned:
        """Return the same with what situations are worth, where there are slices to learn from."""
        if not learned.fitted or learned.cuts[0].data.situation is None:
            return learned
        blends = [
            self.of(cut.data, parts, learned)
            for cut, parts in zip(learned.cuts, learned.fitted, strict=True)
        ]
        powers, notes = learn_powers(blends, some, repeats=self.repeats)
        return replace(learned, powers=powers, notes=(*learned.notes, *notes))

    def _or_best(self, learned: Learned, some: Sequence[Holdout]) -> Learned:
        """Return what was learned, or its best part alone where the blend does not beat it.

        Both rank every item here, new ones included, as they do when they are served; the
        weights were learned on candidates only.
        """

        def value(models: Sequence[FittedRetriever], cuts: Sequence[Holdout]) -> float:
            each = [
                validation_ndcg(model, cut, repeats=self.repeats)
                for model, cut in zip(models, cuts, strict=True)
            ]
            return float(np.average(each, weights=[len(cut.queries) for cut in cuts]))

        blends: list[FittedRetriever] = [
            self.of(cut.data, parts, learned)
            for cut, parts in zip(learned.cuts, learned.fitted, strict=True)
        ]
        each = [[parts[p] for parts in learned.fitted] for p in range(len(learned.parts))]
        few = [cut.thinned(_tried(cut)) for cut in some]
        worth = _worth(some[0].data)
        first = together([partial(value, models, few) for models in each], worth=worth)
        ahead = sorted(range(len(each)), key=lambda p: -first[p])[:BEST_OF]
        judged = [*(each[p] for p in ahead), blends]
        jobs = [partial(value, models, some) for models in judged]
        *found, whole = together(jobs, worth=worth)
        alone = dict(zip(ahead, found, strict=True))
        best = max(ahead, key=lambda p: alone[p])
        name = learned.parts[best].name
        told = f"all items ranked: the blend {whole:.4f}, its best part {name} {alone[best]:.4f}"
        if whole >= alone[best]:
            return replace(learned, notes=(*learned.notes, told))
        weights = np.zeros(len(each))
        weights[best] = 1.0
        return replace(
            learned, weights=weights, notes=(*learned.notes, f"{told}; {name} alone is served")
        )

    def finish(self, data: TrainData, learned: Learned, *, rng: np.random.Generator) -> FittedBlend:
        """Fit every part that was not left out on all of the data, with what was learned."""
        own = dict(zip((p.name for p in self.parts), rng.spawn(len(self.parts)), strict=True))
        final = _fitted(learned.parts, data, [own[part.name] for part in learned.parts])
        for p, chosen in enumerate(learned.half_lives):
            if chosen is not None:
                final[p] = final[p].at(chosen[0])  # type: ignore[attr-defined]
        final, told = indexed(final, rng=rng.spawn(1)[0])
        blend = self.of(data, final, replace(learned, notes=(*learned.notes, *told)))
        if not learned.powers:
            return blend
        return replace(blend, context=with_powers(lifts(data), learned.powers))

    def of(
        self, data: TrainData, fitted: Sequence[FittedRetriever], learned: Learned
    ) -> FittedBlend:
        """Put fitted parts together by what was learned."""
        weights = filled(fitted, learned.weights)
        words = None if learned.words is None else learned.words.weights
        common = None if learned.common is None else learned.common.weights
        blend = FittedBlend(
            name=self.name,
            rule=learned.rule,
            parts=tuple(fitted),
            weights=weights,
            cold=cold_weights(fitted, weights, words, common),
            fresh=weights,
            is_fresh=fresh_items(data),
            notes=learned.notes,
            n_items=data.n_items,
            settings=tuple(settings_of(part) for part in learned.parts),
            left_out=learned.left_out,
            unseen=None
            if learned.unseen is None
            else np.array([learned.unseen.content, learned.unseen.mapped]),
            words=words,
        )
        if not blend.is_fresh.any():
            return blend
        asked = learned.cuts[0].queries
        return replace(blend, fresh=fresh_weights(blend, asked, learned.unseen))

    def _judge(self, inner: Holdout) -> Judge:
        """Return how good a fitted part is on a slice, with the half-life that suits it."""
        small = inner.thinned(_tried(inner))

        def judged(part: FittedRetriever) -> float:
            tried = [part]
            if hasattr(part, "at"):
                tried = [part.at(half_life) for half_life in (None, 3.0)]
            return max(validation_ndcg(one, small, repeats=self.repeats) for one in tried)

        return judged

    def _at_most(self, data: TrainData) -> int:
        return min(self.max_queries, max(LEAST_ASKED, CELLS // max(1, data.n_items)))


def _worth(data: TrainData) -> bool:
    return len(data.user_ix) >= EVENTS


def _tried(cut: Holdout) -> int:
    """Return on how many people settings are tried."""
    return max(LEAST_TRIED, CELLS // 8 // max(1, cut.data.n_items))


def _fitted(
    parts: Sequence[Retriever], data: TrainData, rngs: Sequence[np.random.Generator]
) -> list[FittedRetriever]:
    pairs = zip(parts, rngs, strict=True)
    jobs = [partial(part.fit, data, rng=rng) for part, rng in pairs]
    return together(jobs, worth=_worth(data))


def _settled(part: Retriever, fitted: FittedRetriever) -> Retriever:
    """Return the part with what its own fit chose, so that no later fit looks for it again."""
    settled: Callable[[FittedRetriever], Retriever] | None = getattr(part, "settled", None)
    return part if settled is None else settled(fitted)


def _asked(wanted: Horizon, used: Horizon) -> str:
    if wanted == used:
        return f"people ({used})"
    return f"people (last event of each: too few have both a past and a later event by {wanted})"


def _best_half_life(
    tried: Sequence[tuple[FittedRetriever, Holdout]], *, repeats: bool
) -> tuple[float | None, str]:
    value: dict[float | None, float] = {}
    cuts = [(part, inner.thinned(_tried(inner))) for part, inner in tried]
    size = [len(cut.queries) for _, cut in cuts]
    for half_life in HALF_LIVES:
        found = [
            validation_ndcg(part.at(half_life), cut, repeats=repeats)  # type: ignore[attr-defined]
            for part, cut in cuts
        ]
        value[half_life] = float(np.average(found, weights=size))
    chosen = max(HALF_LIVES, key=lambda h: value[h])  # ties: the longer memory
    told = ", ".join(f"{'∞' if h is None else f'{h:g}'}: {v:.4f}" for h, v in value.items())
    return chosen, f"{tried[0][0].name}: half-life by NDCG@10 on validation ({told})"
