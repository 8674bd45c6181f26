"""A new bundle from the last one: what was learned is kept, what is counted is counted anew.

Half-lives, ridges, weights and trees say how this audience behaves and change slowly; counts,
closed forms and factors say what is used now and change daily. A refresh fits every part on all
the data with the settings that the last bundle keeps, and leaves out the validation slices, the
search over settings and the trees, which are most of the time of a training.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lifeloop.contracts import FittedRetriever, Retriever, TrainData
from lifeloop.errors import BundleError
from lifeloop.models.blended import FittedBlend
from lifeloop.models.context import lifts, with_powers
from lifeloop.models.data import histories
from lifeloop.models.fresh import Unseen, fresh_items, fresh_weights
from lifeloop.models.rank.items import ItemFacts
from lifeloop.models.rank.reranked import FittedRanked
from lifeloop.models.settings import with_settings

ASKED = 64


def refreshed(
    previous: FittedBlend | FittedRanked,
    parts: Sequence[Retriever],
    data: TrainData,
    *,
    rng: np.random.Generator,
) -> FittedBlend | FittedRanked:
    """Return the previous model counted anew on ``data``; nothing is learned again.

    Parameters
    ----------
    previous : FittedBlend or FittedRanked
        Of any catalogue: items are known by what ``data`` says of them.
    parts : sequence of Retriever
        Specifications of the same names in the same order, those that ``previous`` left out
        included; their settings are those of ``previous`` where it keeps them.

    Raises
    ------
    BundleError
        The parts are not those of the previous model, it keeps no settings, or its semantic codes
        are of other vectors.
    """
    if isinstance(previous, FittedRanked):
        blend = _blend(previous.blend, parts, data, rng=rng)
        books = previous.facts.books  # trees know the codes by their numbers
        facts = ItemFacts.of(data, None if books is None else books.still_fit(data.content))
        return replace(previous, blend=blend, facts=facts)
    return _blend(previous, parts, data, rng=rng)


def _blend(
    previous: FittedBlend,
    parts: Sequence[Retriever],
    data: TrainData,
    *,
    rng: np.random.Generator,
) -> FittedBlend:
    names = [part.name for part in previous.parts]
    all_names = [part.name for part in parts]
    parts = [part for part in parts if part.name not in previous.left_out]
    unknown = set(previous.left_out) - set(all_names)
    if [part.name for part in parts] != names or unknown or len(previous.settings) != len(names):
        raise BundleError(
            "the last bundle cannot be refreshed: its parts are not those of this version",
            got=[*names, *previous.left_out],
            allowed=", ".join(all_names),
            hint="train anew: lifeloop train",
        )
    chosen = [with_settings(p, s) for p, s in zip(parts, previous.settings, strict=True)]
    fitted = [p.fit(data, rng=r) for p, r in zip(chosen, rng.spawn(len(chosen)), strict=True)]
    kept = [_faded(old, new) for old, new in zip(previous.parts, fitted, strict=True)]
    blend = replace(
        previous,
        parts=tuple(kept),
        cold=previous.cold,
        fresh=previous.weights,
        is_fresh=fresh_items(data),
        n_items=data.n_items,
        context=None
        if previous.context is None
        else with_powers(lifts(data), previous.context.told()),
    )
    if not blend.is_fresh.any() or not data.n_users:
        return blend
    some = np.linspace(0, data.n_users - 1, min(ASKED, data.n_users)).astype(np.int32)
    unseen = None
    if previous.unseen is not None:
        unseen = Unseen(float(previous.unseen[0]), float(previous.unseen[1]), told="")
    return replace(blend, fresh=fresh_weights(blend, histories(data, some), unseen))


def _faded(old: FittedRetriever, new: FittedRetriever) -> FittedRetriever:
    """Return the new part with the half-life of history that was learned for the old one."""
    if not hasattr(new, "at") or not hasattr(old, "half_life_events"):
        return new
    made: FittedRetriever = new.at(old.half_life_events)
    return made
