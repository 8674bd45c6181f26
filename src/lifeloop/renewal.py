"""What a training takes from the active bundle: its settings, and what moved since."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lifeloop.config import Scenario
from lifeloop.contracts import Retriever, Store, TrainData
from lifeloop.errors import BundleError
from lifeloop.model import Model, open_model
from lifeloop.models import Blend, Drift, FittedBlend, FittedRanked, Ranked, drift, refreshed
from lifeloop.models.drift import Renumbered


def last_model(store: Store, home: Path) -> Model | None:
    """Return the active bundle, None where there is none that this version can open."""
    active = store.active_bundle()
    if active is None:
        return None
    try:
        return open_model(home / "bundles", active)
    except BundleError:
        return None


def fitted(
    specification: Retriever,
    data: TrainData,
    last: Model | None,
    scenario: Scenario,
    *,
    rng: np.random.Generator,
) -> tuple[FittedBlend | FittedRanked, dict[str, Any]]:
    """Return the model, and where its settings come from if they come from ``last``."""
    if last is not None:
        if last.manifest.get("config_hash") != scenario.hash:
            why = "the settings of the project have changed"
        else:
            try:
                blend = _renewed(specification, data, last, rng=rng)
            except BundleError as refused:
                why = str(refused)
            else:
                return blend, {
                    "learned_in": last.manifest.get("learned_in", last.bundle),
                    "refreshes": int(last.manifest.get("refreshes", 0)) + 1,
                }
        renewed = {"not_refreshed": why}
    else:
        renewed = {}
    made = specification.fit(data, rng=rng)
    if not isinstance(made, FittedBlend | FittedRanked):
        raise BundleError("the blend came back as something else", got=type(made).__name__)
    return made, renewed


def moved_since(
    last: Model, blend: FittedBlend | FittedRanked, data: TrainData, item_ids: Sequence[str]
) -> Drift:
    """Return how inputs and scores moved since the moment of the last bundle."""
    return drift(
        data,
        since_us=int(last.manifest["as_of_us"]),
        old=Renumbered.of(last.blend, last.catalogue.item_ids, item_ids),
        new=blend,
    )


def renewal_notes(renewed: Mapping[str, Any], moved: Drift | None) -> list[str]:
    """Say in words what was taken over and what moved."""
    notes = []
    if "learned_in" in renewed:
        notes.append(
            f"refreshed {renewed['refreshes']} times since settings, weights and trees were "
            f"learned in {renewed['learned_in']}"
        )
    if "not_refreshed" in renewed:
        notes.append(f"everything was learned anew: {renewed['not_refreshed']}")
    if moved is not None and moved.item_divergence is not None:
        notes.append(
            f"since the last bundle {moved.events:,} events; item shares moved by "
            f"{moved.item_divergence:.3f} bits, usually {moved.usual_divergence:.3f}"
            + (": more than usual, learn anew" if moved.moved else "")
        )
    return notes


def _renewed(
    specification: Retriever, data: TrainData, last: Model, *, rng: np.random.Generator
) -> FittedBlend | FittedRanked:
    ranked = isinstance(specification, Ranked)
    if ranked != isinstance(last.blend, FittedRanked):
        raise BundleError("the last bundle was made with another ranker")
    blend = specification.blend if isinstance(specification, Ranked) else specification
    if not isinstance(blend, Blend):
        raise BundleError("only a blend can be refreshed", got=specification.name)
    return refreshed(last.blend, blend.parts, data, rng=rng)
