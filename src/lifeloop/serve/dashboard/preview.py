"""What a person would be shown now, with the terms of every score; nothing is written.

The slate is made by the walk that serves it (``Lifeloop.recommend``) on a copy whose log keeps
nothing, so that looking at somebody is no decision. A history with an event more or less answers
"what if".
"""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lifeloop import request
from lifeloop.contracts import UNTIMED, Decision, History, Recommendations, StageResult
from lifeloop.errors import LifeloopError
from lifeloop.lifecycle import StageDefinitions, stage_of
from lifeloop.loop import Lifeloop

REST = "rest"
"""What the terms of the parts leave of a score: zero, up to rounding, while it is their sum."""

_SMALLEST = 1e-4


@dataclass(frozen=True, slots=True)
class Shown:
    """One item of a slate: ``terms`` are (part, amount), largest first, and add up to the score."""

    item_id: str
    title: str | None
    rank: int
    score: float
    source: str
    reason: str
    terms: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """A slate nobody was shown, and the stage it was made for."""

    stage: StageResult
    items: tuple[Shown, ...]
    parts: tuple[str, ...]
    answer: Recommendations
    decision: Decision | None


def preview(loop: Lifeloop, history: History, *, k: int, language: str | None = None) -> Preview:
    """Return the slate of a history as it is now, or as it might be; nothing is logged.

    ``language`` is that of the reasons, the scenario's unless said.
    """
    kept: list[Decision] = []

    def keep(decision: Decision) -> bool:
        kept.append(decision)
        return False

    looking = copy.copy(loop)
    looking.log = keep
    if language is not None:
        locale = loop.scenario.locale.model_copy(update={"language": language})
        looking.scenario = loop.scenario.model_copy(update={"locale": locale})
    answer = looking.recommend(history.user_id, k=k, session=history)
    decision = kept[-1] if kept else None
    at_us = _end_us(loop, history) if decision is None else decision.t_us
    stage = stage_of(
        history,
        definitions=StageDefinitions.of(loop.scenario),
        zone=loop.scenario.locale.zone,
        as_of_us=at_us,
        log_start_us=loop.store.head().first_event_us,
    )
    terms = {} if decision is None else _terms(loop, history, decision)
    items = tuple(
        Shown(
            item_id=row.item_id,
            title=row.title,
            rank=row.rank,
            score=row.score,
            source=row.source,
            reason=row.reason.text,
            terms=_summing(terms.get(row.item_id, ()), row.score),
        )
        for row in answer
    )
    parts = tuple(dict.fromkeys(name for item in items for name, _ in item.terms))
    return Preview(stage, items, parts, answer, decision)


def without(history: History, places: Collection[int]) -> History:
    """Return a history without the events at these places."""
    keep = np.array([n not in places for n in range(len(history))], np.bool_)
    chosen = np.flatnonzero(keep)
    return _taken(history, chosen)


def with_event(
    history: History, *, type: str, item_id: str | None, t_us: int, value: float | None
) -> History:
    """Return a history with one event more, the newest."""
    newest = int(history.t_us.max()) + 1 if len(history) else t_us
    amount = np.nan if value is None else value
    return replace(
        history,
        type=(*history.type, type),
        item_id=(*history.item_id, item_id),
        t_us=np.append(history.t_us, np.int64(max(newest, t_us))),
        value=np.append(history.value, amount),
        quantity=np.append(history.quantity, np.nan),
        rating=np.append(history.rating, np.nan),
        order_id=(*history.order_id, "what-if"),
        text=(*history.text, None),
        is_bot=np.append(history.is_bot, False),
        seq=np.append(history.seq, np.int64(history.seq.max() + 1 if len(history) else 0)),
    )


def at_end_us(loop: Lifeloop) -> int:
    """Return the last instant that a request made now would see."""
    return loop.moment().as_of_us - 1


def _taken(history: History, chosen: Any) -> History:
    def some(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[n] for n in chosen)

    return replace(
        history,
        type=some(history.type),
        item_id=some(history.item_id),
        t_us=history.t_us[chosen],
        value=history.value[chosen],
        quantity=history.quantity[chosen],
        rating=history.rating[chosen],
        order_id=some(history.order_id),
        text=some(history.text),
        is_bot=history.is_bot[chosen],
        seq=history.seq[chosen],
    )


def _terms(
    loop: Lifeloop, history: History, decision: Decision
) -> dict[str, tuple[tuple[str, float], ...]]:
    """Return what every part of the model adds to the items of a slate."""
    store = loop.store
    try:
        model = loop.live.current(store, store.head()).model.ordered(trees=True)
    except LifeloopError:
        return {}
    ix = model.catalogue.ix
    ids = [item_id for item_id in decision.slate_ids if item_id in ix]
    if model.bundle != decision.bundle or not ids:
        return {}  # another bundle took over meanwhile
    asking = request.Request.of(
        history.user_id,
        decision.context,
        t_us=decision.t_us,
        seq=decision.seq,
        seed=loop.scenario.models.seed,
    )
    who = request.asking(store, history.user_id, history)
    history = who.history
    asked = request.ask(model, history, scenario=loop.scenario, request=asking, user=who.user)
    scored = model.blend.scored(asked.queries)
    amounts = scored.by_part(0, np.array([ix[i] for i in ids], np.int32))  # [P, m]
    names = [part.name for part in scored.parts]
    return {
        item_id: tuple((name, float(amounts[p, m])) for p, name in enumerate(names))
        for m, item_id in enumerate(ids)
    }


def _summing(terms: Sequence[tuple[str, float]], score: float) -> tuple[tuple[str, float], ...]:
    if not terms:
        return ()
    left = score - sum(amount for _, amount in terms)
    scale = max(abs(score), 1e-9)
    told = [pair for pair in terms if abs(pair[1]) > _SMALLEST * scale]
    if abs(left) > 1e-3 * scale:
        told.append((REST, left))
    return tuple(sorted(told, key=lambda pair: -abs(pair[1])))


def _end_us(loop: Lifeloop, history: History) -> int:
    newest = int(history.t_us.max()) if len(history) else UNTIMED
    return max(loop.moment().as_of_us, newest + 1 if newest != UNTIMED else UNTIMED)
