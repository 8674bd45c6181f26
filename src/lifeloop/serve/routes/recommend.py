"""What to show: recommendations, similar items, the caller's own candidates in a better order."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from lifeloop.errors import InputError
from lifeloop.events.records import ANONYMOUS_PREFIX
from lifeloop.request import MAX_K
from lifeloop.serve import body, cursors, sessions
from lifeloop.serve.ladder import Asked
from lifeloop.serve.problems import Problem
from lifeloop.serve.route import Id, JsonRoute, Open, in_turn, needs
from lifeloop.serve.service import Service
from lifeloop.wishes import Wishes, checked

router = APIRouter(prefix="/v1", route_class=JsonRoute, tags=["recommendations"])

MAX_CANDIDATES = 10_000

K = Annotated[int, Query(ge=1, le=MAX_K, description="how many items")]
Category = Annotated[list[str], Query(description="only of these categories")]
Where = Annotated[
    list[str], Query(description="field:value, repeatable; a field has one of its values")
]
Exclude = Annotated[list[str], Query(description="items not to show")]
Context = Annotated[
    str | None, Query(description='JSON object: {"query": "green tea", "device": "phone"}')
]
Surface = Annotated[str | None, Query(max_length=100, description="where it is shown; logged")]
Cursor = Annotated[str | None, Query(description="the cursor of the page before")]
Why = Annotated[bool, Query(description="with the reason of each item")]


class Situation(BaseModel):
    """Who asks, in what situation, and what may be shown."""

    model_config = ConfigDict(extra="forbid")

    user_id: str | None = Field(None, min_length=1)
    anonymous_id: str | None = Field(None, min_length=1)
    history: list[dict[str, Any]] | None = Field(
        None, max_length=1000, description="the session's own events, which are not stored"
    )
    k: int = Field(10, ge=1, le=MAX_K)
    context: dict[str, Any] = Field(default_factory=dict)
    where: dict[str, str | list[str]] = Field(default_factory=dict)
    exclude: list[str] = Field(default_factory=list, max_length=MAX_CANDIDATES)
    surface: str | None = Field(None, max_length=100)
    cursor: str | None = None
    why: bool = True


class Candidates(Situation):
    """The same, and the caller's own candidates."""

    candidates: list[str] = Field(min_length=1, max_length=MAX_CANDIDATES)


@router.get("/users/{user_id:id}/recommendations", dependencies=[needs("read")])
@in_turn
def recommendations(
    service: Open,
    user_id: Id,
    k: K = 10,
    cursor: Cursor = None,
    context: Context = None,
    category: Category = [],  # noqa: B006
    where: Where = [],  # noqa: B006
    exclude: Exclude = [],  # noqa: B006
    surface: Surface = None,
    why: Why = True,
) -> Response:
    """Recommend items to a user, or to a visitor as ``anon:<anonymous id>``."""
    given = _context(context, service)
    filters = {"category": tuple(category)} if category else {}
    for pair in where:
        name, colon, value = pair.partition(":")
        if not colon or not name:
            raise InputError("a filter is no pair", got=pair, allowed="field:value")
        filters[name] = (*filters.get(name, ()), value)
    if surface is not None:
        given["surface"] = surface
    wishes = Wishes(exclude=frozenset(exclude), where=filters)
    asked = Asked(service.person(user_id), k, given, wishes)
    return _page(service, asked, cursor=cursor, why=why)


@router.post("/recommendations", dependencies=[needs("read")])
@in_turn
def recommend(service: Open, situation: Situation) -> Response:
    """Recommend items to a user, to a visitor, or to a session that the body describes."""
    return _page(service, _asked(service, situation), cursor=situation.cursor, why=situation.why)


@router.post("/rerank", dependencies=[needs("read")])
@in_turn
def rerank(service: Open, situation: Candidates) -> Response:
    """Put the caller's candidates into an order; what may not be shown is left out and counted.

    Candidates that the model does not know come last, in the order given, without a score.
    """
    asked = _asked(service, situation, only=tuple(dict.fromkeys(situation.candidates)))
    answered, unknown = service.ranked(asked)
    told = service.told(answered, why=situation.why)
    told["unknown"] = unknown[: max(0, asked.k - len(answered))]
    return service.json(told)


@router.get("/items/{item_id:id}/similar", dependencies=[needs("read")])
@in_turn
def similar(service: Open, item_id: Id, k: K = 10) -> Response:
    """Return items like this one that may be shown now."""
    return service.json({"item_id": item_id, "items": service.similar(item_id, k)})


def _page(service: Service, asked: Asked, *, cursor: str | None, why: bool) -> Response:
    before = cursors.read(cursor) if cursor else []
    shown = service.shown(before, asked.user_id)
    answered = service.recommend(service.without(asked, shown))
    told = service.told(answered, why=why)
    told["cursor"] = None
    if answered.logged and len(answered) == asked.k:
        told["cursor"] = cursors.write([*before, answered.request_id])
    return service.json(told)


def _asked(service: Service, situation: Situation, *, only: tuple[str, ...] | None = None) -> Asked:
    who = situation.user_id
    if situation.anonymous_id is not None:
        if who is not None:
            raise Problem(422, "name a user or a visitor, not both", error="input-error")
        who = ANONYMOUS_PREFIX + situation.anonymous_id
    who = None if who is None else service.person(who)
    session = None
    if situation.history is not None:
        session = sessions.parsed(
            who or ANONYMOUS_PREFIX + sessions.VISITOR,
            situation.history,
            zone=service.loop.scenario.locale.zone,
            now_us=service.now_us(),
        )
    context = dict(situation.context)
    if situation.surface is not None:
        context["surface"] = situation.surface
    return Asked(
        who or ANONYMOUS_PREFIX + sessions.VISITOR,
        situation.k,
        context,
        Wishes(exclude=frozenset(situation.exclude), only=only, where=checked(situation.where)),
        session,
    )


def _context(text: str | None, service: Service) -> dict[str, Any]:
    if text is None:
        return {}
    value = body.decoded(text.encode("utf-8", "replace"), max_depth=service.settings.max_depth)
    if not isinstance(value, Mapping):
        raise InputError("context is not a JSON object", got=value, allowed='{"query": "tea"}')
    return dict(value)
