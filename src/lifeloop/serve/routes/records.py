"""Items and users: one by one with ETags, and in bulk."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Response

from lifeloop.custody import held
from lifeloop.errors import InputError
from lifeloop.serve import records
from lifeloop.serve.problems import Problem
from lifeloop.serve.records import ITEMS, USERS, Kind
from lifeloop.serve.route import Id, JsonRoute, Open, needs
from lifeloop.serve.service import Service

router = APIRouter(prefix="/v1", route_class=JsonRoute)

Fields = Annotated[dict[str, Any], Body(description="fields of the record; others are attributes")]
Rows = Annotated[list[dict[str, Any]], Body(description="each names its id")]
Ids = Annotated[list[str], Body(embed=True, description="ids of items")]
Match = Annotated[str | None, Header(alias="if-match", description="ETag that it must have")]
NoneMatch = Annotated[str | None, Header(alias="if-none-match", description="* : must be new")]

_GONE: dict[int | str, dict[str, Any]] = {404: {"description": "there is none"}}
_CHANGED: dict[int | str, dict[str, Any]] = {412: {"description": "it was changed meanwhile"}}
_MADE: dict[int | str, dict[str, Any]] = {
    200: {"description": "replaced", "content": {"application/json": {}}},
    201: {"description": "made", "content": {"application/json": {}}},
}


def _get(service: Service, kind: Kind, record_id: str, known: str | None) -> Response:
    record = records.get(service.loop.store, kind, _named(service, kind, record_id))
    tag = records.etag(record)
    if known is not None and tag in known:
        return Response(status_code=304, headers={"etag": tag})
    return service.json(records.plain(record), headers={"etag": tag})


def _change(
    service: Service,
    kind: Kind,
    record_id: str,
    given: dict[str, Any],
    *,
    merge: bool,
    if_match: str | None,
    if_none_match: str | None,
) -> Response:
    record_id, given = _named(service, kind, record_id), _hashed(service, kind, given)
    if given.get(kind.key, record_id) != record_id:
        raise InputError(
            "the id in the body is not the one in the path",
            got=given[kind.key],
            allowed=record_id,
        )
    record, new = records.change(
        service.loop.store,
        kind,
        record_id,
        how=lambda before: records.merged(before, given) if merge else given,
        if_match=if_match,
        if_none_match=if_none_match,
        zone=service.loop.scenario.locale.zone,
        at_us=service.now_us(),
    )
    service.changed(kind, [record_id])
    headers = {"etag": records.etag(record)}
    return service.json(records.plain(record), status=201 if new else 200, headers=headers)


def _many(service: Service, kind: Kind, rows: list[dict[str, Any]], *, merge: bool) -> Response:
    if len(rows) > service.settings.max_batch:
        allowed = f"{service.settings.max_batch:,} rows"
        raise Problem(413, "too many rows in one request", hint="send several", allowed=allowed)
    stored = [_hashed(service, kind, row) for row in rows]
    report = records.put_many(
        service.loop.store,
        kind,
        stored,
        merge=merge,
        zone=service.loop.scenario.locale.zone,
        at_us=service.now_us(),
    )
    service.changed(kind, [i for i in _ids(kind, stored) if i is not None])
    told = report.to_dict()
    told["results"] = [
        {kind.key: name, "status": outcome}
        if outcome in ("accepted", "duplicate")
        else {kind.key: name, "status": "rejected", "reason": outcome}
        for name, outcome in zip(_ids(kind, rows), report.outcomes, strict=True)
    ]
    return service.json(told, status=200 if not rows or _any(report) else 422)


def _ids(kind: Kind, rows: list[dict[str, Any]]) -> list[str | None]:
    """Return the id that each row names, None where it names none."""
    named = [row.get(kind.key) for row in rows]
    return [name if isinstance(name, str) else None for name in named]


def _named(service: Service, kind: Kind, record_id: str) -> str:
    return service.person(record_id) if kind is USERS else record_id


def _hashed(service: Service, kind: Kind, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its address as the id under which the person is stored."""
    name = row.get(kind.key) if isinstance(row, dict) else None
    return {**row, kind.key: _named(service, kind, name)} if isinstance(name, str) else row


def _any(report: Any) -> bool:
    return bool(report.accepted + report.duplicate)


@router.get("/items/{item_id:id}", tags=["items"], dependencies=[needs("read")], responses=_GONE)
def get_item(service: Open, item_id: Id, if_none_match: NoneMatch = None) -> Response:
    """Return one item and its ETag."""
    return _get(service, ITEMS, item_id, if_none_match)


@router.put(
    "/items/{item_id:id}",
    tags=["items"],
    dependencies=[needs("operate")],
    responses={**_CHANGED, **_MADE},
)
def put_item(
    service: Open,
    item_id: Id,
    given: Fields,
    if_match: Match = None,
    if_none_match: NoneMatch = None,
) -> Response:
    """Make or replace one item; what is hidden or sold out is not shown from now on."""
    return _change(
        service,
        ITEMS,
        item_id,
        given,
        merge=False,
        if_match=if_match,
        if_none_match=if_none_match,
    )


@router.patch(
    "/items/{item_id:id}", tags=["items"], dependencies=[needs("operate")], responses=_CHANGED
)
def patch_item(service: Open, item_id: Id, given: Fields, if_match: Match = None) -> Response:
    """Change fields of one item (JSON merge patch: null removes a field)."""
    records.get(service.loop.store, ITEMS, item_id)
    return _change(
        service, ITEMS, item_id, given, merge=True, if_match=if_match, if_none_match=None
    )


@router.delete(
    "/items/{item_id:id}",
    tags=["items"],
    dependencies=[needs("operate")],
    status_code=204,
    responses={**_GONE, **_CHANGED},
)
def delete_item(service: Open, item_id: Id, if_match: Match = None) -> Response:
    """Remove one item: it is shown to nobody from now on; events that name it stay."""
    at_us = service.now_us()
    records.remove_item(service.loop.store, item_id, if_match=if_match, at_us=at_us)
    service.changed(ITEMS, [item_id])
    return Response(status_code=204)


@router.put("/items", tags=["items"], dependencies=[needs("operate")])
def put_items(service: Open, rows: Rows) -> Response:
    """Make or replace many items."""
    return _many(service, ITEMS, rows, merge=False)


@router.patch("/items", tags=["items"], dependencies=[needs("operate")])
def patch_items(service: Open, rows: Rows) -> Response:
    """Change fields of many items (JSON merge patch)."""
    return _many(service, ITEMS, rows, merge=True)


@router.post("/items/remove", tags=["items"], dependencies=[needs("operate")])
def remove_items(service: Open, ids: Ids) -> Response:
    """Remove many items."""
    if len(ids) > service.settings.max_batch:
        allowed = f"{service.settings.max_batch:,} ids"
        raise Problem(413, "too many ids in one request", hint="send several", allowed=allowed)
    at_us = service.now_us()
    told = records.remove_items(service.loop.store, ids, at_us=at_us)
    service.changed(ITEMS, ids)
    return service.json(told)


@router.get("/users/{user_id:id}/export", tags=["users"], dependencies=[needs("admin")])
def export_user(service: Open, user_id: Id) -> Response:
    """Return everything that is held about a person."""
    return service.json(held(service.loop.store, user_id, service.loop.home))


@router.get("/users/{user_id:id}", tags=["users"], dependencies=[needs("read")], responses=_GONE)
def get_user(service: Open, user_id: Id, if_none_match: NoneMatch = None) -> Response:
    """Return one user's own fields and their ETag."""
    return _get(service, USERS, user_id, if_none_match)


@router.put(
    "/users/{user_id:id}",
    tags=["users"],
    dependencies=[needs("operate")],
    responses={**_CHANGED, **_MADE},
)
def put_user(
    service: Open,
    user_id: Id,
    given: Fields,
    if_match: Match = None,
    if_none_match: NoneMatch = None,
) -> Response:
    """Make or replace one user."""
    return _change(
        service,
        USERS,
        user_id,
        given,
        merge=False,
        if_match=if_match,
        if_none_match=if_none_match,
    )


@router.patch(
    "/users/{user_id:id}", tags=["users"], dependencies=[needs("operate")], responses=_CHANGED
)
def patch_user(service: Open, user_id: Id, given: Fields, if_match: Match = None) -> Response:
    """Change fields of one user (JSON merge patch: null removes a field)."""
    records.get(service.loop.store, USERS, service.person(user_id))
    return _change(
        service, USERS, user_id, given, merge=True, if_match=if_match, if_none_match=None
    )


@router.delete("/users/{user_id:id}", tags=["users"], dependencies=[needs("admin")])
def erase_user(service: Open, user_id: Id) -> Response:
    """Erase a person with every alias, for good: events, fields, links, decisions, caches."""
    report = service.erase(user_id)
    return service.json(service.plain(report))


@router.put("/users", tags=["users"], dependencies=[needs("operate")])
def put_users(service: Open, rows: Rows) -> Response:
    """Make or replace many users."""
    return _many(service, USERS, rows, merge=False)


@router.patch("/users", tags=["users"], dependencies=[needs("operate")])
def patch_users(service: Open, rows: Rows) -> Response:
    """Change fields of many users (JSON merge patch)."""
    return _many(service, USERS, rows, merge=True)
