"""From a request to its answer: score, choose, record, explain. The loop calls these in order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lifeloop.config import Scenario
from lifeloop.contracts import (
    Bool,
    Decision,
    Double,
    Evidence,
    Float,
    History,
    Int,
    PolicyState,
    Prediction,
    Recommendation,
    Recommendations,
    Slate,
)
from lifeloop.errors import UnknownId
from lifeloop.events.records import Item
from lifeloop.explain import Facts, Past, explained
from lifeloop.model import Catalogue, Model
from lifeloop.models import RankedScored, Scored, queries
from lifeloop.models.retrieve.popularity import FittedPopularity
from lifeloop.models.retrieve.topk import NO_HISTORY
from lifeloop.policy import Combined, choose, say_shortfall
from lifeloop.request import Asked, Request, meant, unused

NAMEABLE = 3
"""Strongest events per item whose titles are read; a reason names two items at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The candidates, best first, and the slate drawn from them."""

    scored: Scored | RankedScored
    item_ix: Int  # [m]
    score: Float  # [m]
    slate: Slate
    fallback: str | None
    traces: Double  # [P, len(slate), L+1] what every part and event adds to each item shown

    @property
    def slate_ix(self) -> Int:
        """Item indices in the order shown."""
        return self.item_ix[self.slate.picked]


def choose_slate(
    model: Model,
    asked: Asked,
    may: Combined,
    *,
    k: int,
    scenario: Scenario,
    request: Request,
    stage: str,
) -> tuple[Chosen, PolicyState]:
    """Score every item, keep the best candidates, and draw k of them by the policy."""
    rules = scenario.recommend
    scored = model.blend.scored(asked.queries)
    found = scored.retrieve(max(rules.candidates, k), allowed=may.allowed)
    keep = found.item_ix[0] >= 0
    item_ix, score = found.item_ix[0][keep], found.score[0][keep]
    spread = float(score.max() - score.min()) if len(score) else 0.0
    state = PolicyState(
        temperature=rules.temperature,
        diversity=rules.diversity,
        scale=spread if spread > 0 else 1.0,
        stage=stage,
    )
    slate = choose(
        score,
        similarity=_vectors(model.catalogue, item_ix),
        allowed=np.ones(len(score), np.bool_),
        state=state,
        k=k,
        rng=np.random.default_rng(request.rng_seed),
    )
    fallback = found.reason[0] if found.reason[0] == NO_HISTORY else None
    traces = scored.traces(0, item_ix[slate.picked])
    return Chosen(scored, item_ix, score, slate, fallback, traces), state


def decision_of(
    model: Model,
    asked: Asked,
    chosen: Chosen,
    state: PolicyState,
    *,
    request: Request,
    log_candidates: int,
) -> Decision:
    """Return the record of one slate: what could have been shown, what was, how likely.

    Where the draw is random every candidate that could be drawn is kept, so that propensities
    can be checked.
    """
    n = len(chosen.item_ix)
    kept = n if state.temperature > 0 else min(n, max(log_candidates, len(chosen.slate.picked)))
    ids = model.catalogue.item_ids
    return Decision(
        request_id=request.request_id,
        user_id=request.user_id,
        t_us=request.t_us,
        seq=request.seq,
        rng_seed=request.rng_seed,
        context=request.context,
        surface=str(request.context.get("surface", "default")),
        bundle=model.bundle,
        stage=state.stage,
        policy={
            "objective": "organic",
            "temperature": state.temperature,
            "diversity": state.diversity,
            "scale": state.scale,
        },
        candidate_ids=tuple(map(ids.__getitem__, chosen.item_ix[:kept].tolist())),
        candidate_scores=tuple(chosen.score[:kept].tolist()),
        slate_ids=tuple(ids[i] for i in chosen.slate_ix.tolist()),
        propensities=tuple(chosen.slate.propensity.tolist()),
        level=chosen.fallback or "full",
    )


def to_name(model: Model, asked: Asked, chosen: Chosen) -> list[str]:
    """Return the ids whose titles the answer needs: the slate's, and those its reasons name."""
    ids = [model.catalogue.item_ids[i] for i in chosen.slate_ix]
    per_event = chosen.traces[:, :, :-1].sum(axis=0)  # [m, L]
    n_named = min(NAMEABLE, per_event.shape[1])
    if not n_named:
        return ids
    # the order among them does not matter
    strongest = np.unique(np.argpartition(-per_event, n_named - 1, axis=1)[:, :n_named])
    return list(dict.fromkeys([*ids, *(asked.item_id[e] for e in strongest)]))


def recommendations_of(
    model: Model,
    asked: Asked,
    chosen: Chosen,
    *,
    items: Sequence[Item | None],
    scenario: Scenario,
    stage: str,
) -> tuple[Recommendation, ...]:
    """Return the slate with titles, sources and reasons; ``items`` as asked by ``to_name``."""
    titles = {item.item_id: item.title for item in items if item is not None and item.title}
    past = Past.told(asked.item_id, asked.verb, titles=titles)
    names = [part.name for part in chosen.scored.parts]
    scored, rows = chosen.scored, []
    sources = scored.sources(0, chosen.slate_ix)
    by_history = chosen.traces[:, :, :-1].sum(axis=2).argmax(axis=0).tolist()  # [m]
    for place, j in enumerate(chosen.slate.picked):
        ix = int(chosen.item_ix[j])
        item_id = model.catalogue.item_ids[ix]
        told = explained(
            names,
            chosen.traces[:, place],
            past,
            facts=_facts(model, ix, asked),
            language=scenario.locale.language,
            own=item_id,
        )
        source = sources[place]
        if told.kind == "history":  # then the part that made the most of the history
            source = names[by_history[place]]
        rows.append(
            Recommendation(
                item_id=item_id,
                title=titles.get(item_id),
                score=float(chosen.score[j]),
                rank=place + 1,
                source=source,
                reason=told.evidence,
                propensity=float(chosen.slate.propensity[place]),
                stage=stage,
                bundle=model.bundle,
                fallback=chosen.fallback is not None,
            )
        )
    return tuple(rows)


def answered(
    rows: tuple[Recommendation, ...],
    decision: Decision,
    chosen: Chosen,
    may: Combined,
    *,
    k: int,
    asked: Asked,
    scenario: Scenario,
    logged: bool = True,
) -> Recommendations:
    """Return the whole answer, with what is missing said.

    A slate whose propensities are not in the log has none in the answer either.
    """
    if not logged or decision.propensities is None:
        rows = tuple(replace(row, propensity=None) for row in rows)
    short = say_shortfall(may, asked=k, got=len(rows))
    return Recommendations(
        user_id=decision.user_id,
        request_id=decision.request_id,
        items=rows,
        stage=decision.stage or "acquisition",
        bundle=decision.bundle,
        fallback=chosen.fallback,
        shortfall=short,
        logged=logged,
        level=decision.level,
        context_unused=(unread := unused(decision.context, asked)),
        context_hints=meant(unread, scenario),
    )


def untrained(request: Request, *, stage: str, why: str) -> Recommendations:
    """Return the empty answer of a project in which nothing has been trained."""
    return Recommendations(
        user_id=request.user_id,
        request_id=request.request_id,
        items=(),
        stage=stage,
        bundle=None,
        fallback="no_model",
        shortfall=why,
        logged=False,
        level="none",
        context_unused=unused(request.context, None),
    )


def similar(model: Model, item_id: str, *, k: int, as_of_us: int) -> tuple[Recommendation, ...]:
    """Return the items the blend ranks best for somebody who used only this one, without titles.

    Only items that may be shown at ``as_of_us`` are among them.

    Raises
    ------
    UnknownId
        The item is not in the active bundle.
    """
    ix = model.catalogue.ix.get(item_id)
    if ix is None:
        raise UnknownId(
            "the active bundle does not know this item",
            got=item_id,
            hint="check the id; an item imported since then is known after `lifeloop train`",
        )
    held = model.catalogue
    others = held.shelf(as_of_us).allowed.copy()
    others[ix] = False
    scored = model.blend.scored(queries([[ix]]))
    found = scored.retrieve(k, allowed=others)
    keep = found.item_ix[0][found.item_ix[0] >= 0]
    sources = scored.sources(0, keep)
    return tuple(
        Recommendation(
            item_id=model.catalogue.item_ids[i],
            title=None,
            score=float(found.score[0][rank]),
            rank=rank + 1,
            source=sources[rank],
            reason=Evidence(
                text=sources[rank],
                items=((item_id, float(scored.amounts(0, int(i))[:, 0].sum())),),
            ),
            propensity=None,
            bundle=model.bundle,
        )
        for rank, i in enumerate(keep)
    )


def titled(
    rows: Sequence[Recommendation], items: Sequence[Item | None]
) -> tuple[Recommendation, ...]:
    """Return the rows with the titles of their items."""
    return tuple(
        replace(row, title=None if item is None else item.title)
        for row, item in zip(rows, items, strict=True)
    )


def predict(model: Model, history: History, item_id: str, *, as_of_us: int) -> Prediction:
    """Predict a rating from the ratings in the history; None with a reason where impossible."""
    ix = model.catalogue.ix.get(item_id)
    if ix is None:
        return Prediction(history.user_id, item_id, None, basis="none", reason="unknown_item")
    known = [
        (model.catalogue.ix[i], r)
        for i, r in zip(history.item_id, history.rating, strict=True)
        if i is not None and i in model.catalogue.ix and not np.isnan(r)
    ]
    asked = queries(
        [[i for i, _ in known]],
        as_of_us=as_of_us,
        rating=[[r for _, r in known]],
    )
    (told,) = model.rating.predict(asked, np.array([ix], np.int32))
    return Prediction(history.user_id, item_id, told.value, basis=told.basis, reason=told.reason)


def _vectors(catalogue: Catalogue, item_ix: Int) -> tuple[Float, Bool] | None:
    rows = catalogue.content_ix[item_ix]
    has = rows >= 0
    if not has.any():
        return None
    vectors = np.zeros((len(item_ix), catalogue.content.shape[1]), np.float32)
    vectors[has] = catalogue.content[rows[has]]
    return vectors, has


def _facts(model: Model, ix: int, asked: Asked) -> Facts:
    popularity = next(
        (part for part in model.blend.parts if isinstance(part, FittedPopularity)), None
    )
    # People of popularity used the item in any way: the verb claims no more than that.
    if popularity is None:
        return Facts(query=asked.text, wrote=asked.wrote)
    return Facts(
        people_recent=int(popularity.users_recent[ix]),
        people=int(popularity.users[ix]),
        days=popularity.window_days,
        query=asked.text,
        wrote=asked.wrote,
    )
