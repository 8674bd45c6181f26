"""One request: who asks, in what situation, with what history, and what they may be shown."""

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeloop.config import Scenario
from lifeloop.contracts import (
    Float,
    Head,
    History,
    Int,
    Queries,
    Store,
)
from lifeloop.encoders import KEYS, nearest_keys, situation_of, zone_of
from lifeloop.errors import InputError
from lifeloop.events.records import ANONYMOUS_PREFIX, User
from lifeloop.model import Catalogue, Model
from lifeloop.models import FittedRanked, queries
from lifeloop.models.data import age_days
from lifeloop.policy import Combined, combine, outside_repeat_window
from lifeloop.written import said, searched, wrote

CONTEXT_TEXT = ("query", "search", "interests", "category")
"""Context keys that are read as text. ``items`` are items just looked at; the fields of
``models.context`` are the situation; the rest is logged."""

CONTEXT_NAMED = ("surface",)
"""Context keys that say where a slate is shown and are not meant to change it."""


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
    read: frozenset[str] = frozenset()  # keys of the context that have a part in the slate
    history_ix: Int | None = None  # [n] item of each event of the history, -1: none that is known
    wrote: str | None = None  # newest text that the ranker was told of


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


@dataclass(frozen=True, slots=True, eq=False)
class Asking:
    """Who asks: the history that a slate may be made of, and what is stored of them.

    ``head`` is where the store stood then, or before.
    """

    head: Head
    history: History
    user: User | None  # None: a visitor, or nobody of whom there is a record


def asking(store: Store, user_id: str, session: History | None) -> Asking:
    """Return who asks, and the history that a slate may be made of: the session's, else the stored.

    Of a person whose consent says ``personalisation: false`` it is empty, from the next request
    on: they get what everybody without a history gets.
    """
    named = not user_id.startswith(ANONYMOUS_PREFIX)
    if named and session is None:
        told = store.profile(user_id)
        head, user, history = told.head, told.user, told.history
    else:
        head = store.head()
        (user,) = store.users([user_id]) if named else [None]
        history = store.histories([user_id])[0] if session is None else session
    if _refuses(user):
        history = store.histories([user_id], limit=0)[0]
    return Asking(head, history, user)


def _refuses(user: User | None) -> bool:
    return user is not None and user.consent.get("personalisation") is False


def unused(context: Mapping[str, Any], asked: Asked | None) -> tuple[str, ...]:
    """Return the keys of a context that had no part in a slate: they are logged and no more.

    Parameters
    ----------
    asked : Asked or None
        What the models were asked; None where no model was.
    """
    if not context:
        return ()
    read = {*CONTEXT_NAMED, *(() if asked is None else asked.read)}
    return tuple(sorted(str(key) for key in context if key not in read))


def meant(unread: Sequence[str], scenario: Scenario) -> dict[str, str]:
    """Return for keys of a context that nothing reads the key that was probably meant."""
    if not unread:
        return {}
    own = [*CONTEXT_TEXT, *CONTEXT_NAMED, "items", "zone", *scenario.models.context]
    own += [name for field in scenario.models.context for name in KEYS.get(field, ())]
    plain = ["".join(c for c in key.lower() if c.isalnum()) for key in own]
    odd = [key for key in unread if "".join(c for c in key.lower() if c.isalnum()) not in plain]
    return nearest_keys(odd, own)


def ask(
    model: Model,
    history: History,
    *,
    scenario: Scenario,
    request: Request,
    user: User | None = None,
    predicted: Callable[[str, int], Float] | None = None,
) -> Asked:
    """Return the history and the context as one query.

    The newest ``history_limit`` events with evidence are folded in; items newer than the bundle
    are left out. Items in the context count as looked at just now. Text in the context becomes a
    vector, else what was searched for in this session does (``written.searched``), else, of a
    person without any evidence, what they wrote and stated (``written.said``; ``user`` is what is
    stored of them). Of a person with evidence who asks for nothing, a ranker that has learned to
    read it is told what they wrote before (``written.wrote``). Hour, weekday, device, place and
    channel become the situation, where the bundle has learned that they count.
    """
    ix = model.catalogue.ix
    weight = _weights(history, scenario)
    item = _items_of(history, model.catalogue)
    used = np.flatnonzero((item >= 0) & (weight > 0))[-scenario.recommend.history_limit :]
    looked_at = [i for i in _items_in(request.context) if i in ix]
    n_more = len(looked_at)
    read = ["items"] if n_more else []
    text = _text_in(request.context)
    age = age_days(history.t_us[used], request.t_us)
    vectors = before = None
    user = None if _refuses(user) else user
    attributes: Mapping[str, Any] = {} if user is None else user.attributes
    if text is not None and model.reader is not None:
        vectors = model.reader.read(text)[None, :]  # [1, d]
        if vectors.any():
            read += [key for key in CONTEXT_TEXT if key in request.context]
    elif model.reader is not None:
        told = searched(
            model.reader, history, t_us=request.t_us, gap_minutes=scenario.time.session_gap_minutes
        )
        if told is None and not len(used) and not n_more:
            told = said(
                model.reader,
                history,
                attributes,
                t_us=request.t_us,
                settings=scenario.models.text,
            )
        if told is not None:
            text, vectors = told.text, told.vector[None, :]
        elif isinstance(model.blend, FittedRanked) and model.blend.reads_written:
            before = wrote(
                model.reader,
                history,
                user,
                t_us=request.t_us,
                settings=scenario.models.text,
            )
    situation, keys = _situation(model, scenario, request, attributes)
    verbs = dict.fromkeys(history.type, "used")
    verbs |= {name: spec.verb or "used" for name, spec in scenario.events.items()}
    events = used.tolist()
    return Asked(
        queries=queries(
            [np.concatenate([item[used], [ix[i] for i in looked_at]]).astype(np.int32)],
            as_of_us=request.t_us,
            weight=[np.concatenate([weight[used], np.ones(n_more)])],
            age_days=[np.concatenate([age, np.zeros(n_more)])],
            rating=[np.concatenate([history.rating[used], np.full(n_more, np.nan)])],
            vectors=vectors,
            situation=situation,
            # of a person who refuses personalisation there is no history, and nothing is foretold
            predicted=predicted(request.user_id, request.t_us)[None, :]
            if predicted is not None and len(used)
            else None,
            written=None if before is None else before.vector[None, :],
        ),
        item_id=(*map(str, map(history.item_id.__getitem__, events)), *looked_at),
        verb=(*map(verbs.__getitem__, map(history.type.__getitem__, events)), *["viewed"] * n_more),
        text=text,
        read=frozenset([*read, *keys]),
        history_ix=item,
        wrote=None if before is None else before.text,
    )


def _situation(
    model: Model,
    scenario: Scenario,
    request: Request,
    attributes: Mapping[str, Any],
) -> tuple[Int | None, tuple[str, ...]]:
    """Return the codes of the situation [1, F], and the keys of the context that count."""
    fitted = model.blend.context
    if fitted is None:
        return None, ()
    local = not {"hour", "weekday"}.isdisjoint(fitted.fields)
    zone = (zone_of(attributes) if local else None) or scenario.locale.zone
    found = situation_of(request.context, fitted.fields, t_us=request.t_us, zone=zone)
    codes = fitted.codes(found.values)
    keys = [key for name in fitted.counts(codes[0]) for key in found.keys[name]]
    return codes, tuple(keys)


def eligible(
    catalogue: Catalogue,
    history: History,
    *,
    scenario: Scenario,
    as_of_us: int,
    history_ix: Int | None = None,
) -> Combined:
    """Return which items may be shown to this person now, and how many each rule took.

    ``history_ix`` is what ``ask`` found of the history, where it was asked.
    """
    shelf = catalogue.shelf(as_of_us)
    item = _items_of(history, catalogue) if history_ix is None else history_ix
    consumes = frozenset(scenario.recommend.consumes)
    used = np.flatnonzero((item >= 0) & _by_type(history, lambda kind: kind in consumes, np.bool_))
    free = outside_repeat_window(
        item[used], history.t_us[used], windows_days=catalogue.repeat_days, as_of_us=as_of_us
    )
    masks = {"refused by a rule": shelf.allowed, "used already and not due again": free}
    more = combine(masks, n=catalogue.n_items)
    taken = {k: n for k, n in more.excluded.items() if k != "refused by a rule"}
    return Combined(allowed=more.allowed, excluded={**shelf.excluded, **taken})


def _items_of(history: History, catalogue: Catalogue) -> Int:
    """Return the item index of each event [n], -1 without an item or of one that is unknown."""
    ids: Sequence[Any] = history.item_id
    return np.fromiter(map(catalogue.ix.get, ids, repeat(-1)), np.int32, len(ids))


def _by_type(
    history: History, told: Callable[[str], float], dtype: type[np.generic]
) -> NDArray[Any]:
    """Return what holds of the type of each event [n], asked once per type."""
    known = {kind: told(kind) for kind in dict.fromkeys(history.type)}
    return np.fromiter(map(known.__getitem__, history.type), dtype, len(history))


def _weights(history: History, scenario: Scenario) -> Float:
    types = scenario.events

    def least(kind: str) -> float:
        floor = types[kind].rating_from if kind in types else None
        return -np.inf if floor is None else floor

    weight = _by_type(history, lambda t: types[t].weight if t in types else 0.0, np.float32)
    floor = _by_type(history, least, np.float64)
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
