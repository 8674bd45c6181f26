"""The parts of one request: fold the history, mask, score, choose, explain. The loop calls them."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lifeloop.config import Scenario
from lifeloop.contracts import (
    Bool,
    Decision,
    Evidence,
    Float,
    History,
    Int,
    PolicyState,
    Prediction,
    Queries,
    Recommendation,
    Recommendations,
    Slate,
)
from lifeloop.errors import InputError, UnknownId
from lifeloop.events.records import Item
from lifeloop.explain import Facts, Happened, explain
from lifeloop.model import Catalogue, Model
from lifeloop.models import Scored, queries
from lifeloop.models.data import age_days
from lifeloop.models.retrieve.popularity import FittedPopularity
from lifeloop.models.retrieve.topk import NO_HISTORY
from lifeloop.policy import Combined, choose, combine, outside_repeat_window, say_shortfall

CONTEXT_TEXT = ("query", "search", "interests", "category")
"""Context keys that are read as text. ``items`` are items just looked at; the rest is logged."""

MAX_K = 1000


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks, when, in what situation; ``seq`` is what the store knew."""

    request_id: str
    user_id: str
    t_us: int
    seq: int
    rng_seed: int
    context: Mapping[str, Any]

    @classmethod
    def of(
        cls, user_id: str, context: Mapping[str, Any] | None, *, t_us: int, seq: int, seed: int
    ) -> "Request":
        """Return a request with an id of its own, and its own seed made of it and ``seed``."""
        request_id = uuid.uuid4().hex
        digest = hashlib.blake2b(f"{seed}/{request_id}".encode(), digest_size=7).digest()
        rng_seed = int.from_bytes(digest, "big")
        return cls(request_id, user_id, t_us, seq, rng_seed, dict(context or {}))


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One request as the models see it, and the way back from its events to the history's."""

    queries: Queries
    item_id: tuple[str, ...]  # [L] item of each query event
    verb: tuple[str, ...]  # [L] what was done with it
    text: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The candidates, best first, and the slate drawn from them."""

    scored: Scored
    item_ix: Int  # [m]
    score: Float  # [m]
    slate: Slate
    fallback: str | None

    @property
    def slate_ix(self) -> Int:
        """Item indices in the order shown."""
        return self.item_ix[self.slate.picked]


def check(user_id: object, k: object, context: object) -> None:
    """Refuse a request that cannot be answered, with every problem at once."""
    problems = []
    if not isinstance(user_id, str) or not user_id:
        problems.append(f"user_id is {user_id!r}, not a non-empty string")
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
        problems.append(f"k is {k!r}, not a whole number from 1 to {MAX_K}")
    if context is not None and not isinstance(context, Mapping):
        problems.append(f"context is {type(context).__name__}, not a mapping")
    if problems:
        raise InputError("the request was refused: " + "; ".join(problems))


def ask(
    model: Model,
    history: History,
    *,
    scenario: Scenario,
    request: Request,
) -> Asked:
    """Return the history and the context as one query.

    The newest ``history_limit`` events with evidence are folded in; items newer than the bundle
    are left out. Items in the context count as looked at just now. Text in the context, or the
    newest search of a person without any evidence, becomes a vector.
    """
    ix = model.catalogue.ix
    weight = _weights(history, scenario)
    item = np.array([-1 if i is None else ix.get(i, -1) for i in history.item_id], np.int32)
    used = np.flatnonzero((item >= 0) & (weight > 0))[-scenario.recommend.history_limit :]
    looked_at = [i for i in _items_in(request.context) if i in ix]
    n_more = len(looked_at)
    text = _text_in(request.context) or (None if len(used) else _searched(history))
    age = age_days(history.t_us[used], request.t_us)
    vectors = None
    if text is not None and model.reader is not None:
        vectors = model.reader.read(text)[None, :]  # [1, d]
    verbs = {name: spec.verb or "used" for name, spec in scenario.events.items()}
    return Asked(
        queries=queries(
            [np.concatenate([item[used], [ix[i] for i in looked_at]]).astype(np.int32)],
            as_of_us=request.t_us,
            weight=[np.concatenate([weight[used], np.ones(n_more)])],
            age_days=[np.concatenate([age, np.zeros(n_more)])],
            rating=[np.concatenate([history.rating[used], np.full(n_more, np.nan)])],
            vectors=vectors,
        ),
        item_id=(*(str(history.item_id[e]) for e in used), *looked_at),
        verb=(*(verbs.get(history.type[e], "used") for e in used), *["viewed"] * n_more),
        text=text,
    )


def eligible(
    catalogue: Catalogue, history: History, *, scenario: Scenario, as_of_us: int
) -> Combined:
    """Return which items may be shown to this person now, and how many each rule took."""
    consumes = frozenset(scenario.recommend.consumes)
    used = [
        (catalogue.ix[item], t_us)
        for kind, item, t_us in zip(history.type, history.item_id, history.t_us, strict=True)
        if item is not None and kind in consumes and item in catalogue.ix
    ]
    masks: dict[str, Bool] = {
        "not available now": (catalogue.from_us <= as_of_us) & (as_of_us < catalogue.until_us),
        "out of stock": catalogue.in_stock,
        "used already and not due again": outside_repeat_window(
            np.array([i for i, _ in used], np.int32),
            np.array([t for _, t in used], np.int64),
            windows_days=catalogue.repeat_days,
            as_of_us=as_of_us,
        ),
    }
    return combine(masks, n=catalogue.n_items)


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
    return Chosen(scored, item_ix, score, slate, fallback), state


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
        candidate_ids=tuple(ids[i] for i in chosen.item_ix[:kept]),
        candidate_scores=tuple(float(s) for s in chosen.score[:kept]),
        slate_ids=tuple(ids[i] for i in chosen.slate_ix),
        propensities=tuple(float(p) for p in chosen.slate.propensity),
        level=chosen.fallback or "full",
    )


def to_name(model: Model, asked: Asked, chosen: Chosen) -> list[str]:
    """Return the ids whose titles the answer needs: the slate's and the history's."""
    ids = [model.catalogue.item_ids[i] for i in chosen.slate_ix]
    return list(dict.fromkeys([*ids, *asked.item_id]))


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
    happened = [
        Happened(item_id, verb, titles.get(item_id))
        for item_id, verb in zip(asked.item_id, asked.verb, strict=True)
    ]
    scored, rows = chosen.scored, []
    sources = scored.sources(0, chosen.slate_ix)
    for place, j in enumerate(chosen.slate.picked):
        ix = int(chosen.item_ix[j])
        item_id = model.catalogue.item_ids[ix]
        names = [part.name for part in scored.parts]
        amounts = dict(zip(names, scored.amounts(0, ix), strict=True))
        facts = _facts(model, ix, asked.text)
        told = explain(amounts, happened, facts=facts, language=scenario.locale.language)
        rows.append(
            Recommendation(
                item_id=item_id,
                title=titles.get(item_id),
                score=float(chosen.score[j]),
                rank=place + 1,
                source=sources[place],
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
) -> Recommendations:
    """Return the whole answer, with what is missing said."""
    short = say_shortfall(may, asked=k, got=len(rows))
    return Recommendations(
        user_id=decision.user_id,
        request_id=decision.request_id,
        items=rows,
        stage=decision.stage or "acquisition",
        bundle=decision.bundle,
        fallback=chosen.fallback,
        shortfall=short,
        logged=True,
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
    )


def similar(model: Model, item_id: str, *, k: int) -> tuple[Recommendation, ...]:
    """Return the items the blend ranks best for somebody who used only this one, without titles.

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
    others = np.ones(model.catalogue.n_items, np.bool_)
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


def _weights(history: History, scenario: Scenario) -> Float:
    types = scenario.events
    weight = np.array([types[t].weight if t in types else 0.0 for t in history.type], np.float32)
    floor = np.array(
        [
            types[t].rating_from if t in types and types[t].rating_from is not None else -np.inf
            for t in history.type
        ],
        dtype=np.float64,
    )
    with np.errstate(invalid="ignore"):
        disliked = history.rating < floor
    weight[disliked | history.is_bot] = 0.0
    return weight


def _items_in(context: Mapping[str, Any]) -> list[str]:
    given = context.get("items", ())
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, Sequence) or not all(isinstance(i, str) for i in given):
        raise InputError(
            "context.items is not a list of item ids", got=given, allowed='["id", "id", …]'
        )
    return list(given)


def _text_in(context: Mapping[str, Any]) -> str | None:
    told: list[str] = []
    for key in CONTEXT_TEXT:
        value = context.get(key)
        if value is None:
            continue
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, Sequence) or not all(isinstance(v, str) for v in values):
            raise InputError(
                f"context.{key} is not text", got=value, allowed="text, or a list of it"
            )
        told += values
    text = " ".join(told).strip()
    return text or None


def _searched(history: History) -> str | None:
    return next((text for text in reversed(history.text) if text and text.strip()), None)


def _vectors(catalogue: Catalogue, item_ix: Int) -> tuple[Float, Bool] | None:
    rows = catalogue.content_ix[item_ix]
    has = rows >= 0
    if not has.any():
        return None
    vectors = np.zeros((len(item_ix), catalogue.content.shape[1]), np.float32)
    vectors[has] = catalogue.content[rows[has]]
    return vectors, has


def _facts(model: Model, ix: int, text: str | None) -> Facts:
    popularity = next(
        (part for part in model.blend.parts if isinstance(part, FittedPopularity)), None
    )
    # People of popularity used the item in any way: the verb claims no more than that.
    if popularity is None:
        return Facts(query=text)
    return Facts(
        people_recent=int(popularity.users_recent[ix]),
        people=int(popularity.users[ix]),
        days=popularity.window_days,
        query=text,
    )
