"""The application: routes behind the gate."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import anyio
import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lifeloop.errors import LifeloopError, StoreError
from lifeloop.loop import Lifeloop
from lifeloop.serve import logs, problems, signin
from lifeloop.serve.dashboard import PAGES, Desk
from lifeloop.serve.gate import OPEN, Gate
from lifeloop.serve.problems import MEDIA_TYPE, Problem
from lifeloop.serve.routes import ROUTERS, events
from lifeloop.serve.service import Service
from lifeloop.serve.settings import ServeSettings
from lifeloop.serve.tracing import Silent, Tracing

VERSION = "1"
REPLAY_EVERY_S = 1.0


def create_app(
    loop: Lifeloop,
    *,
    settings: ServeSettings | None = None,
    where: str | None = None,
    spans: Tracing | None = None,
) -> FastAPI:
    """Return the application over an open ``Lifeloop``, which stays the caller's to close.

    Parameters
    ----------
    loop : Lifeloop
        Shared by all requests of this process.
    settings : ServeSettings, optional
        Limits.
    where : str, optional
        What ``Lifeloop.open`` was given, for the process that trains; default: the folder.
    spans : Tracing, optional
        Where spans go; default: nowhere (see ``lifeloop.serve.tracing``).

    Returns
    -------
    FastAPI
        An ASGI application; ``app.state.service`` is what its routes are given.
    """
    service = Service(loop, settings or ServeSettings(), where=where)
    desk = Desk(loop)
    loop.live.removals.then(desk.forget)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = service.settings.threads
        logs.note("started")
        await anyio.to_thread.run_sync(_warmed, service, desk)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_replaying, service)
            yield
            tasks.cancel_scope.cancel()
        service.close()
        desk.close()
        logs.note("stopped")

    app = FastAPI(
        title="lifeloop",
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        exception_handlers=cast(Any, _handlers(service)),
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.desk = desk
    for router in (*ROUTERS, *PAGES):
        app.router.routes.extend(router.routes)  # flat: every route is there to be looked at
    app.router.routes.append(events.ROUTE)
    app.add_middleware(cast(Any, Gate), service=service, spans=spans or Silent())
    return app


_REFUSALS = {
    "400": "the request cannot be read",
    "401": "no key, or one that is not known",
    "403": "a key without the role",
    "404": "there is none",
    "409": "not in this state",
    "412": "changed meanwhile",
    "413": "too large",
    "415": "an encoding that is not read",
    "422": "what was sent cannot be used",
    "429": "too many requests",
    "503": "the store is down; nothing was accepted",
    "507": "the disk is full; nothing was accepted",
}


def _refusals(said: Mapping[str, Any]) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    told = {}
    for status, why in _REFUSALS.items():
        told[status] = {
            "description": said.get(status, {}).get("description", why),
            "content": {**(_ROWS if status == "422" else {}), **content},
        }
    return told


# a batch of which not one row could be stored is told row by row
_ROWS = {"application/json": {"schema": {"type": "object"}}}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "request_id": {"type": "string"},
        "next": {"type": "string"},
        "problems": {"type": "array", "items": {"type": "string"}},
    },
}


def _warmed(service: Service, desk: Desk) -> None:
    """Read the log ahead where somebody is signed in; nobody pays for pages that nobody opens."""
    with suppress(StoreError):
        if signin.in_use(service.loop.store.kept, at_us=service.now_us()):
            desk.warm(lang=service.loop.scenario.locale.language)


async def _replaying(service: Service) -> None:
    while True:
        await anyio.to_thread.run_sync(service.replay)
        await anyio.sleep(REPLAY_EVERY_S)


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, the plain route of events and the keys included."""
    made = get_openapi(title=app.title, version=app.version, routes=app.routes)
    made["paths"] |= events.DOCUMENT
    made["components"] = made.get("components", {})
    made["components"].setdefault("schemas", {})["Problem"] = _PROBLEM
    made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    made["security"] = [{"key": []}]
    for path, operations in made["paths"].items():
        for operation in operations.values():
            if path in OPEN:
                operation["security"] = []
            else:
                operation["responses"] |= _refusals(operation["responses"])
    return made


def _handlers(service: Service) -> dict[Any, Any]:
    def told(request: Request, problem: Problem) -> Response:
        return problems.response(problem, request_id=request.state.request_id)

    def known(request: Request, error: Exception) -> Response:
        after = service.settings.retry_after_s
        return told(request, problems.of(error, retry_after_s=after))

    def unfit(request: Request, error: RequestValidationError) -> Response:
        return told(request, problems.invalid(error.errors()))

    def other(request: Request, error: HTTPException) -> Response:
        hint = "see /openapi.json for what there is" if error.status_code in (404, 405) else None
        problem = Problem(
            error.status_code, str(error.detail).lower(), hint=hint, headers=error.headers
        )
        return told(request, problem)

    return {
        Problem: known,
        LifeloopError: known,
        RequestValidationError: unfit,
        HTTPException: other,
    }
