"""One function per thing the service does: it returns the call, and a client makes it."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from lifeloop.client.answers import Job, Removed, Sent, Slate, Written

T = TypeVar("T")
Fields = Mapping[str, Any]


@dataclass(frozen=True)  # without slots, which a generic dataclass cannot have
class Call(Generic[T]):
    """One request and the type of its answer; ``repeatable`` if twice is the same as once."""

    method: str
    path: str
    answer: Any  # type[T]; dict and None included
    repeatable: bool = True
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def send(events: Iterable[Fields]) -> Call[Sent]:
    """Store events. Each gets an id and a time now, so that sending it again is harmless."""
    now = datetime.now(tz=UTC).isoformat()
    rows = [{"event_id": uuid.uuid4().hex, **_timed(event, now), **event} for event in events]
    return Call("POST", "/v1/events", Sent, body=rows)


def recommend(
    user_id: str,
    *,
    k: int = 10,
    cursor: str | None = None,
    context: Fields | None = None,
    where: Mapping[str, str | Sequence[str]] | None = None,
    exclude: Sequence[str] = (),
    surface: str | None = None,
    why: bool = True,
) -> Call[Slate]:
    """Recommend items to a user; ``where`` limits them: ``{"category": ["tea"]}``."""
    body = {"user_id": user_id, **_wishes(k, cursor, context, where, exclude, surface, why)}
    return Call("POST", "/v1/recommendations", Slate, body=body)


def recommend_session(
    history: Sequence[Fields],
    *,
    anonymous_id: str | None = None,
    k: int = 10,
    context: Fields | None = None,
    where: Mapping[str, str | Sequence[str]] | None = None,
    exclude: Sequence[str] = (),
    surface: str | None = None,
) -> Call[Slate]:
    """Recommend items to a session whose events are in the call and are not stored."""
    body = {
        "anonymous_id": anonymous_id,
        "history": list(history),
        **_wishes(k, None, context, where, exclude, surface, True),
    }
    return Call("POST", "/v1/recommendations", Slate, body=body)


def rerank(
    user_id: str,
    candidates: Sequence[str],
    *,
    k: int = 10,
    context: Fields | None = None,
    surface: str | None = None,
) -> Call[Slate]:
    """Put your own candidates into an order."""
    body = {
        "user_id": user_id,
        "candidates": list(candidates),
        **_wishes(k, None, context, None, (), surface, True),
    }
    return Call("POST", "/v1/rerank", Slate, body=body)


def similar(item_id: str, *, k: int = 10) -> Call[dict[str, Any]]:
    """Return items like this one."""
    return Call("GET", f"/v1/items/{_id(item_id)}/similar", dict, params={"k": k})


def get_item(item_id: str) -> Call[dict[str, Any]]:
    """Return one item."""
    return Call("GET", f"/v1/items/{_id(item_id)}", dict)


def put_item(item_id: str, item: Fields, *, if_match: str | None = None) -> Call[dict[str, Any]]:
    """Make or replace one item; with ``if_match`` only the version of that ETag."""
    headers = {} if if_match is None else {"if-match": if_match}
    return Call("PUT", f"/v1/items/{_id(item_id)}", dict, body=dict(item), headers=headers)


def patch_item(
    item_id: str, changes: Fields, *, if_match: str | None = None
) -> Call[dict[str, Any]]:
    """Change fields of one item; None removes a field."""
    headers = {} if if_match is None else {"if-match": if_match}
    return Call("PATCH", f"/v1/items/{_id(item_id)}", dict, body=dict(changes), headers=headers)


def delete_item(item_id: str) -> Call[None]:
    """Show an item to nobody from now on."""
    return Call("DELETE", f"/v1/items/{_id(item_id)}", None)


def put_items(items: Iterable[Fields]) -> Call[Written]:
    """Make or replace many items."""
    return Call("PUT", "/v1/items", Written, body=[dict(item) for item in items])


def patch_items(changes: Iterable[Fields]) -> Call[Written]:
    """Change fields of many items, each named by its ``item_id``; None removes a field."""
    return Call("PATCH", "/v1/items", Written, body=[dict(change) for change in changes])


def remove_items(item_ids: Iterable[str]) -> Call[Removed]:
    """Show many items to nobody from now on; ids that are not there are told, not refused."""
    return Call("POST", "/v1/items/remove", Removed, body={"ids": list(item_ids)})


def put_users(users: Iterable[Fields]) -> Call[Written]:
    """Make or replace many users."""
    return Call("PUT", "/v1/users", Written, body=[dict(user) for user in users])


def patch_users(changes: Iterable[Fields]) -> Call[Written]:
    """Change fields of many users, each named by its ``user_id``; None removes a field."""
    return Call("PATCH", "/v1/users", Written, body=[dict(change) for change in changes])


def put_user(user_id: str, user: Fields) -> Call[dict[str, Any]]:
    """Make or replace one user."""
    return Call("PUT", f"/v1/users/{_id(user_id)}", dict, body=dict(user))


def identify(anonymous_id: str, user_id: str) -> Call[dict[str, Any]]:
    """Link a visitor to a user, once."""
    body = {"anonymous_id": anonymous_id, "user_id": user_id}
    return Call("POST", "/v1/identify", dict, body=body)


def lifecycle(user_id: str) -> Call[dict[str, Any]]:
    """Say where a user stands, and by which rule."""
    return Call("GET", f"/v1/users/{_id(user_id)}/lifecycle", dict)


def table(name: str, **options: Any) -> Call[dict[str, Any]]:
    """Return one lifecycle table: ``table("retention", grain="week")``."""
    return Call("GET", f"/v1/lifecycle/{_id(name)}", dict, params=options)


def models() -> Call[dict[str, Any]]:
    """List the bundles."""
    return Call("GET", "/v1/models", dict)


def activate(bundle: str) -> Call[dict[str, Any]]:
    """Make a bundle the active one."""
    return Call("POST", f"/v1/models/{_id(bundle)}/activate", dict)


def rollback() -> Call[dict[str, Any]]:
    """Go back to the bundle that was active before: ``{"active": bundle}``.

    Not repeated by itself: twice would not be the same as once.
    """
    return Call("POST", "/v1/models/rollback", dict, repeatable=False)


def train() -> Call[Job]:
    """Begin to train. Not repeated by itself: a second one would be refused."""
    return Call("POST", "/v1/train", Job, repeatable=False)


def training(job: str) -> Call[Job]:
    """Return how a training goes."""
    return Call("GET", f"/v1/train/{_id(job)}", Job)


def _id(text: str) -> str:
    return quote(text, safe="").replace(".", "%2E")  # dots would be resolved on the way


def _timed(event: Fields, now: str) -> dict[str, str]:
    return (
        {}
        if any(name in event for name in ("occurred_at", "occurred_us"))
        else {"occurred_at": now}
    )


def _wishes(
    k: int,
    cursor: str | None,
    context: Fields | None,
    where: Mapping[str, str | Sequence[str]] | None,
    exclude: Sequence[str],
    surface: str | None,
    why: bool,
) -> dict[str, Any]:
    filters = {
        name: value if isinstance(value, str) else list(value)
        for name, value in (where or {}).items()
    }
    return {
        "k": k,
        "cursor": cursor,
        "context": dict(context or {}),
        "where": filters,
        "exclude": list(exclude),
        "surface": surface,
        "why": why,
    }
