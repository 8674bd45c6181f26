"""Who somebody is, where they stand, and every table of the lifecycle."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from lifeloop import tables
from lifeloop.errors import InputError, UnknownId
from lifeloop.serve.route import Id, JsonRoute, Open, needs

router = APIRouter(prefix="/v1", route_class=JsonRoute, tags=["lifecycle"])

_OWN = ("start", "end", "grain", "by", "members", "include_bots", "lang", "where", "limit")
MAX_ROWS = 100_000


class Link(BaseModel):
    """A visitor and the user they turned out to be."""

    model_config = ConfigDict(extra="forbid")

    anonymous_id: str = Field(min_length=1)
    user_id: str = Field(min_length=1)


@router.post(
    "/identify",
    dependencies=[needs("ingest")],
    responses={409: {"description": "the link would merge two people, or names a placeholder"}},
)
def identify(service: Open, link: Link) -> Response:
    """Link a visitor to a user, once; two known users are never merged."""
    report = service.loop.identify(link.anonymous_id, link.user_id)
    told = {
        "anonymous_id": report.anonymous_id,
        "user_id": report.user_id,
        "status": report.status,
        "events": report.events,
    }
    return service.json(told)


@router.get("/users/{user_id:id}/lifecycle", dependencies=[needs("read")])
def lifecycle_of(service: Open, user_id: Id) -> Response:
    """Say where a user stands, by which rule, and how they came there."""
    user_id = service.person(user_id)
    stage = service.loop.stage(user_id)
    return service.json({**service.plain(stage), "path": service.loop.why(user_id)["moves"]})


@router.get("/lifecycle", dependencies=[needs("read")])
def lifecycle(service: Open) -> Response:
    """Count the users in each stage, and list every table with its options."""
    return service.json({"stages": service.loop.stages(), "tables": tables.describe()})


@router.get("/lifecycle/{name}", dependencies=[needs("read")])
def table(
    service: Open,
    request: Request,
    name: str,
    start: Annotated[str | None, Query(description="first day, YYYY-MM-DD")] = None,
    end: Annotated[str | None, Query(description="last day, YYYY-MM-DD")] = None,
    grain: Annotated[str, Query(description="day, week or month")] = "day",
    by: Annotated[str | None, Query(description="attributes to split by, with commas")] = None,
    where: Annotated[list[str], Query(description="field:value, repeatable")] = [],  # noqa: B006
    members: Annotated[bool, Query(description="the users behind every cell instead")] = False,
    include_bots: bool = False,
    lang: Annotated[str | None, Query(description="en or zh")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_ROWS, description="rows at most")] = 10_000,
    after: Annotated[int, Query(ge=0, description="rows to skip, from the row before")] = 0,
) -> Response:
    """Return one lifecycle table; options of its own are further parameters."""
    if name not in tables.TABLES:
        raise UnknownId("there is no such table", got=name, allowed=", ".join(tables.TABLES))
    filters: dict[str, list[str]] = {}
    for pair in where:
        key, colon, value = pair.partition(":")
        if not colon or not key:
            raise InputError("a filter is no pair", got=pair, allowed="field:value")
        filters.setdefault(key, []).append(value)
    own = {k: v for k, v in request.query_params.items() if k not in (*_OWN, "after")}
    made = service.loop.table(
        name,
        start=start,
        end=end,
        grain=grain,
        by=by,
        where=filters or None,
        members=members,
        include_bots=include_bots,
        lang=lang,
        **own,
    )
    told: dict[str, Any] = made.to_json()
    rows = told["rows"]
    told["rows"] = rows[after : after + limit]
    told["total"] = len(rows)
    told["after"] = after + limit if after + limit < len(rows) else None
    return service.json(told)
