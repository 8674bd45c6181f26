"""Retrievers by name, with the settings of a scenario."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import replace

from lifeloop.config import Models
from lifeloop.contracts import Retriever
from lifeloop.errors import InputError
from lifeloop.models.blend import Blend
from lifeloop.models.holdout import Horizon
from lifeloop.models.neural.checkpoints import Checkpoints
from lifeloop.models.neural.ncf import Ncf
from lifeloop.models.neural.rating_network import RatingNetwork
from lifeloop.models.neural.sasrec import Sasrec
from lifeloop.models.neural.two_tower import TwoTower
from lifeloop.models.rank.boosted import READABLE, Boosting
from lifeloop.models.rank.ranked import Kind, Ranked
from lifeloop.models.retrieve.als import Als
from lifeloop.models.retrieve.bpr import Bpr
from lifeloop.models.retrieve.chance import Chance
from lifeloop.models.retrieve.content import Content
from lifeloop.models.retrieve.ease import Ease
from lifeloop.models.retrieve.itemknn import ItemKNN
from lifeloop.models.retrieve.mapped import Mapped
from lifeloop.models.retrieve.popularity import Popularity
from lifeloop.models.retrieve.replenish import Replenish
from lifeloop.models.retrieve.sequential import SequentialRidge
from lifeloop.models.retrieve.sparse import SparseLinear
from lifeloop.models.retrieve.transitions import Transitions
from lifeloop.models.retrieve.userknn import UserKNN
from lifeloop.models.tune import Tuning

SINGLE: dict[str, Callable[[Models], Retriever]] = {
    "random": lambda s: Chance(),
    "popularity": lambda s: Popularity(),
    "recency_popularity": lambda s: Popularity(
        half_life_days=s.popularity_half_life_days, name="recency_popularity"
    ),
    "trending_popularity": lambda s: Popularity(
        half_life_days=s.popularity_half_life_days / 4, name="trending_popularity"
    ),
    "content": lambda s: Content(),
    "text_map": lambda s: Mapped(),
    "content_euclidean": lambda s: Content(similarity="euclidean", name="content_euclidean"),
    "itemknn": lambda s: ItemKNN(k=s.knn_neighbours),
    "transitions": lambda s: Transitions(),
    "ease": lambda s: Ease(n_items=s.ease_items, ridge=s.ease_lambda),
    "ease_recency": lambda s: Ease(
        n_items=s.ease_items, ridge=s.ease_lambda, half_life_events=3.0, name="ease_recency"
    ),
    "sequential": lambda s: SequentialRidge(n_items=s.ease_items),
    "als": lambda s: Als(),
    "bpr": lambda s: Bpr(),
    "userknn": lambda s: UserKNN(k=s.knn_neighbours),
    "replenish": lambda s: Replenish(),
    "sparse": lambda s: SparseLinear(),
    "sparse_sequential": lambda s: SparseLinear(
        half_life=4.0, half_life_events=4.0, name="sparse_sequential"
    ),
}

NEURAL: dict[str, Callable[[Models], Retriever]] = {
    "sasrec": lambda s: Sasrec(seconds=s.network_seconds),
    "ncf": lambda s: Ncf(),
    "two_tower": lambda s: TwoTower(),
    "rating_network": lambda s: RatingNetwork(),
}
"""Networks: need the extra ``[train]``, and are used only where they are named."""

BLENDED = (
    "popularity",
    "recency_popularity",
    "trending_popularity",
    "content",
    "itemknn",
    "transitions",
    "ease",
    "sequential",
    "text_map",
)
"""The parts of "lifeloop"."""

REPEATED = ("replenish",)
"""The parts that are added where what was used may come back."""

RANKED: dict[str, Kind] = {
    "ranked": "trees",
    "ranked_tree": "tree",
    "ranked_logistic": "logistic",
}
"""Rankers over the candidates of "lifeloop"."""

NAMES: tuple[str, ...] = (*SINGLE, *NEURAL, "lifeloop", *RANKED)
"""Every name that ``build`` knows."""


def build(
    names: Sequence[str],
    settings: Models,
    *,
    horizon: Horizon = "time",
    repeats: bool = False,
    checkpoints: Checkpoints | None = None,
) -> list[Retriever]:
    """Return the specifications named, in that order.

    Parameters
    ----------
    names : sequence of str
        From ``NAMES``.
    settings : Models
        Sizes, ridge, neighbours and half-lives.
    horizon : {"last", "time", "basket"}
        What the blend is to be good at.
    repeats : bool
        Whether items of the history may come back (the blend validates the same way).
    checkpoints : Checkpoints, optional
        Where networks keep the state of their training.

    Raises
    ------
    InputError
        For names that do not exist, all at once, with the nearest that does.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        near = [difflib.get_close_matches(name, NAMES, n=1, cutoff=0.4) for name in unknown]
        hints = [f"{n!r} → {c[0]!r}" for n, c in zip(unknown, near, strict=True) if c]
        raise InputError(
            "there is no model of that name",
            got=unknown[0] if len(unknown) == 1 else unknown,
            allowed=", ".join(NAMES),
            hint=f"did you mean {'; '.join(hints)}?" if hints else None,
        )
    found = [_one(name, settings, horizon=horizon, repeats=repeats) for name in names]
    return [_kept(made, checkpoints) for made in found]


def _one(name: str, settings: Models, *, horizon: Horizon, repeats: bool) -> Retriever:
    if name in SINGLE or name in NEURAL:
        return {**SINGLE, **NEURAL}[name](settings)
    parts = (*BLENDED, *(REPEATED if repeats else ()), *settings.networks)
    blend = Blend(
        parts=tuple(_part(part, settings) for part in parts),
        horizon=horizon,
        repeats=repeats,
        tuning=Tuning(trials=settings.tuning_trials, seconds=settings.tuning_seconds),
    )
    if name == "lifeloop":
        return blend
    boosting = READABLE if RANKED[name] == "tree" else Boosting()
    return Ranked(
        blend, boosting=boosting, codes=settings.ranker_codes, kind=RANKED[name], name=name
    )


def _part(name: str, settings: Models) -> Retriever:
    """Return a part of the blend, where a space of use without any text would be one ALS more."""
    if name == "text_map":
        return Mapped(only_with_text=True)
    return {**SINGLE, **NEURAL}[name](settings)


def _kept(made: Retriever, checkpoints: Checkpoints | None) -> Retriever:
    """Return the same with a place to keep checkpoints, itself and its parts."""
    if checkpoints is None:
        return made
    if isinstance(made, Ranked):
        blend = _kept(made.blend, checkpoints)
        return replace(made, blend=blend) if isinstance(blend, Blend) else made
    if isinstance(made, Blend):
        return replace(made, parts=tuple(_kept(part, checkpoints) for part in made.parts))
    return replace(made, checkpoints=checkpoints) if isinstance(made, Sasrec) else made
