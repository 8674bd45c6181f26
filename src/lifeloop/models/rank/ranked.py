"""The ranked blend: candidates of every retriever, put in order by trees, if that is better.

The trees see the held-out queries on which the linear blend learned its weights, and are judged
out of fold on people they did not see. Only where they beat the blend there, by ``MARGIN``, are
they served; otherwise the blend is, and the notes say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from lifeloop.contracts import TrainData
from lifeloop.models.blend import Blend
from lifeloop.models.holdout import Holdout
from lifeloop.models.rank.boosted import FOLDS, Boosting, FittedBooster, Trained, train_booster
from lifeloop.models.rank.calibration import checked
from lifeloop.models.rank.codes import fit_codebooks
from lifeloop.models.rank.features import names
from lifeloop.models.rank.items import ItemFacts
from lifeloop.models.rank.logistic import FittedLogistic, TrainedLogistic, train_logistic
from lifeloop.models.rank.reranked import FittedRanked
from lifeloop.models.rank.rules import rules
from lifeloop.models.rank.table import Table, joined_tables, ndcg_per_query, training_table

MOST_TEXTS = 5000
"""Texts that people wrote, read for a slice at most: large encoders are slow (docs/encoders.md).
Queries beyond it are learned from as if nothing had been written."""
Kind = Literal["trees", "tree", "logistic"]
MARGIN = 0.005
"""Share of NDCG@10 by which trees must beat the blend: they cost time, and reasons get longer."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A blend and the settings of the trees above it.

    Parameters
    ----------
    blend : Blend
        Its parts give the candidates and the features.
    boosting : Boosting
        Settings of the trees.
    last : int
        With ``horizon="last"``, how many last events of each person are learned from.
    most : int
        Held-out queries learned from at most.
    least_people : int
        With fewer held-out people the blend is served: trees would learn noise.
    codes : int
        Levels of semantic codes that the trees are told of each item (``codes.py``); the kinds
        that can be read are not told them.
    kind : {"trees", "tree", "logistic"}
        Boosted trees, one tree that can be read, or a weighted sum of features.
    margin : float
        Share of NDCG@10 by which the trees must beat the blend to be served.
    """

    blend: Blend
    boosting: Boosting = field(default_factory=Boosting)
    last: int = 3
    most: int = 12000
    least_people: int = 100
    margin: float = MARGIN
    codes: int = 0
    kind: Kind = "trees"
    name: str = "ranked"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> FittedRanked:
        """Learn the blend and the trees on the inner slice, then fit the parts on everything."""
        split_rng, inner_rng, tree_rng, final_rng, code_rng = rng.spawn(5)
        books = fit_codebooks(
            data.content, levels=self.codes if self.kind == "trees" else 0, rng=code_rng
        )
        cuts = self.blend.slices(data, rng=split_rng, last=self._last(data), most=self.most)
        learned = self.blend.learn(cuts, rng=inner_rng)
        booster: FittedBooster | FittedLogistic | None = None
        if not learned.fitted or learned.rule != "linear":
            said: tuple[str, ...] = ("the linear blend is served: too little to train a ranker on",)
        else:
            cuts = tuple(cut.with_written(most=MOST_TEXTS) for cut in cuts)
            table = joined_tables(
                [
                    training_table(
                        self.blend.of(cut.data, fitted, learned),
                        cut,
                        facts=ItemFacts.of(cut.data, books),
                        repeats=self.blend.repeats,
                    )
                    for cut, fitted in zip(cuts, learned.fitted, strict=True)
                ]
            )
            levels = 0 if books is None else books.levels
            feature_names = names([part.name for part in self.blend.parts], levels)
            trained: Trained | TrainedLogistic | None = None
            if len(np.unique(table.group)) >= self.least_people:
                if self.kind == "logistic":
                    fold = tree_rng.permutation(int(table.group.max()) + 1)[table.group] % FOLDS
                    trained = train_logistic(table, feature_names, fold, folds=FOLDS)
                else:
                    trained = train_booster(table, feature_names, self.boosting, rng=tree_rng)
            wins, told = _judged(trained, table, margin=self.margin)
            said = (*_wrote(cuts), *_reliable(trained, table), *_readable(trained), told)
            booster = trained.fitted if trained is not None and wins else None
        if booster is None:  # trees read what every part says, a blend only what has a weight
            learned = learned.lean()
        notes = (*learned.notes, *said)
        learned = replace(learned, notes=notes, fitted=())  # the fits need the memory
        final = self.blend.finish(data, learned, rng=final_rng)
        return FittedRanked(
            name=self.name,
            blend=replace(final, name=self.name),
            booster=booster,
            facts=ItemFacts.of(data, books),
            repeats=self.blend.repeats,
        )

    def _last(self, data: TrainData) -> int:
        """More targets per person where there are few people."""
        return max(1, min(self.last, -(-self.most // max(1, data.n_users))))


def _wrote(cuts: Sequence[Holdout]) -> tuple[str, ...]:
    """Return of how many people the ranker was told what they had written, if of any."""
    told = [cut.queries.written for cut in cuts if cut.queries.written is not None]
    known = sum(int(rows.any(axis=1).sum()) for rows in told)
    if not known:
        return ()
    n = sum(len(cut.queries) for cut in cuts)
    return (f"the ranker read what people had written before {known:,} of {n:,} held-out queries",)


def _reliable(trained: Trained | TrainedLogistic | None, table: Table) -> tuple[str, ...]:
    """Return how far the ranker's chances can be relied on."""
    if trained is None:
        return ()
    rows = table.rows_of(trained.asked)
    who = np.repeat(table.group, table.sizes)[rows]
    return (checked(trained.score[rows], table.target[rows], who).told(),)


def _readable(trained: Trained | TrainedLogistic | None) -> tuple[str, ...]:
    """Return what the ranker consists of, where that can be read."""
    if isinstance(trained, TrainedLogistic):
        told = ", ".join(f"{name} {weight:+.3f}" for name, weight in trained.fitted.told())
        return (f"weights of the ranker, log odds per spread: {told}",)
    if trained is None or trained.rounds > 1:
        return ()
    return tuple(f"rule of the ranker: {rule}" for rule in rules(trained.fitted))


def _judged(
    trained: Trained | TrainedLogistic | None, table: Table, *, margin: float
) -> tuple[bool, str]:
    if trained is None:
        return False, "the linear blend is served: too little to train a ranker on"
    blend = ndcg_per_query(table, table.blend)[trained.asked]
    trees = trained.ndcg[trained.asked]
    gain = trees - blend
    error = float(gain.std() / np.sqrt(max(1, len(gain))))
    wins = bool(trees.mean() > (1.0 + margin) * blend.mean())
    return wins, (
        f"{_what(trained)}, {len(trees)} held-out queries of people it had not "
        f"seen: NDCG@10 {trees.mean():.4f}, the linear blend {blend.mean():.4f} "
        f"(difference {gain.mean():+.4f}, standard error {error:.4f}); "
        f"{'the ranker' if wins else 'the linear blend'} is served"
    )


def _what(trained: Trained | TrainedLogistic) -> str:
    if isinstance(trained, TrainedLogistic):
        return f"logistic ranker with a ridge of {trained.ridge:g}"
    return "ranker of one tree" if trained.rounds == 1 else f"ranker of {trained.rounds} trees"
