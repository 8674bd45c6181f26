"""Slates from below the first rung: what is shown, and how it is recorded."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lifeloop.contracts import Decision, Evidence, Recommendation, Recommendations, Store
from lifeloop.live import Current
from lifeloop.models import queries
from lifeloop.models.retrieve.popularity import FittedPopularity
from lifeloop.policy import Combined
from lifeloop.request import Request, unused
from lifeloop.wishes import Wishes, fits

_LOOKED_THROUGH = 2_000


def popular(current: Current, may: Combined, k: int, *, as_of_us: int) -> list[Recommendation]:
    """Return the most popular items that may be shown; no other part of the bundle is asked."""
    model = current.model
    part = next((p for p in model.blend.parts if isinstance(p, FittedPopularity)), None)
    if part is None:
        return []
    found = part.retrieve(queries([[]], as_of_us=as_of_us), k, allowed=may.allowed)
    kept = np.flatnonzero(found.item_ix[0] >= 0)
    return [
        Recommendation(
            item_id=model.catalogue.item_ids[found.item_ix[0][at]],
            title=None,
            score=float(found.score[0][at]),
            rank=int(at) + 1,
            source=part.name,
            reason=Evidence("popular now"),
            propensity=None,
            bundle=model.bundle,
            fallback=True,
        )
        for at in kept
    ]


def newest(store: Store, wishes: Wishes, k: int, *, as_of_us: int) -> list[Recommendation]:
    """Return the newest items that may be shown, for a project in which nothing was trained."""
    items = [
        item
        for item in store.newest_items(_LOOKED_THROUGH)
        if (item.stock is None or item.stock > 0)
        and (item.available_from_us is None or item.available_from_us <= as_of_us)
        and (item.available_until_us is None or as_of_us < item.available_until_us)
        and fits(item, wishes)
    ]
    return [
        Recommendation(
            item_id=item.item_id,
            title=item.title,
            score=0.0,
            rank=at + 1,
            source="newest",
            reason=Evidence("new"),
            propensity=None,
            fallback=True,
        )
        for at, item in enumerate(items[:k])
    ]


def decision_of(
    asking: Request, rows: Sequence[Recommendation], *, bundle: str | None, level: str
) -> Decision:
    """Return the record of a slate that the policy did not draw: it has no propensities."""
    ids = tuple(row.item_id for row in rows)
    return Decision(
        request_id=asking.request_id,
        user_id=asking.user_id,
        t_us=asking.t_us,
        seq=asking.seq,
        rng_seed=asking.rng_seed,
        context=asking.context,
        surface=str(asking.context.get("surface", "default")),
        bundle=bundle,
        stage=next((row.stage for row in rows), None),
        policy={"objective": level},
        candidate_ids=ids,
        candidate_scores=tuple(row.score for row in rows),
        slate_ids=ids,
        propensities=None,
        level=level,
    )


def answered(
    decision: Decision, rows: Sequence[Recommendation], *, short: str | None, logged: bool
) -> Recommendations:
    """Return such a slate as an answer; ``short`` says why it is short, if it is."""
    placed = tuple(replace(row, rank=at + 1, propensity=None) for at, row in enumerate(rows))
    return Recommendations(
        user_id=decision.user_id,
        request_id=decision.request_id,
        items=placed,
        stage=decision.stage or "unknown",
        bundle=decision.bundle,
        fallback=decision.level,
        shortfall=short,
        logged=logged,
        level=decision.level,
        context_unused=unused(decision.context, None),
    )
