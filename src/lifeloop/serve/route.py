"""How routes are written: roles, ids in paths, JSON bodies within limits."""

from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Annotated, Any, ParamSpec, cast
from urllib.parse import unquote

import anyio.to_thread
from fastapi import Depends, Path, Request
from fastapi.routing import APIRoute
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response

from lifeloop.serve import body
from lifeloop.serve.keys import Key, Role
from lifeloop.serve.problems import Problem
from lifeloop.serve.service import Service


def service_of(request: Request) -> Service:
    """Return what this process holds open."""
    service: Service = request.app.state.service
    return service


async def _opened(request: Request) -> Service:
    # A dependency that is no coroutine would be called in a thread, and the request would wait
    # for one, and for its turn in it.
    return service_of(request)


Open = Annotated[Service, Depends(_opened)]
"""Parameter type of a route that needs the service."""


Id = Annotated[str, Path(min_length=1, description="percent-encoded; a slash is %2F")]
"""Parameter type of an id in a path."""


def needs(role: Role) -> Any:
    """Return the dependency that lets only keys with this role in."""

    async def check(request: Request) -> None:  # no thread: see ``_opened``
        allow(request, role)

    vars(check)["role"] = role
    return Depends(check)


def allow(request: Request, role: Role) -> None:
    """Refuse a key without the role. Raises ``Problem`` 403."""
    key: Key | None = getattr(request.state, "key", None)
    if key is None or role not in key.may:
        raise Problem(
            403,
            f"this needs a key with the role {role!r}",
            hint="ask whoever runs `lifeloop keys create` for one",
            error="forbidden",
            allowed=role,
        )


P = ParamSpec("P")


def in_turn(work: Callable[P, Response]) -> Callable[P, Coroutine[Any, Any, Response]]:
    """Let a route that makes slates work in its turn: first come, first served, few at once."""

    @wraps(work)
    async def turn(*given: P.args, **named: P.kwargs) -> Response:
        service = cast(Service, named["service"])
        return await anyio.to_thread.run_sync(
            partial(work, *given, **named), limiter=service.slates
        )

    return turn


class JsonRoute(APIRoute):
    """A route whose JSON body is read by ``body.read``: limits, gzip, depth, honest text."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, given such a request."""
        handler = super().get_route_handler()

        async def limited(request: Request) -> Response:
            return await handler(_Limited(request.scope, request.receive))

        return limited


class _Limited(Request):
    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = await body.read(self, service_of(self).settings)
        return self._body

    async def json(self) -> Any:
        return body.decoded(await self.body(), max_depth=service_of(self).settings.max_depth)


class _Id(Convertor[str]):
    """An id in a path: percent-encoded, slashes included; a bare slash is taken as well."""

    regex = ".+"

    def convert(self, value: str) -> str:
        try:
            text = unquote(value, errors="strict")
        except UnicodeDecodeError:
            raise Problem(400, "the id in the path is not UTF-8", error="bad-path") from None
        if "\0" in text:
            raise Problem(400, "the id in the path holds a NUL character", error="bad-path")
        return text

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("id", _Id())
