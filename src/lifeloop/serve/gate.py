"""What every request passes: an id, a key, its rate, the headers, one log line, one problem."""

import re
import time
import uuid
from collections.abc import Mapping, MutableMapping
from typing import Any, cast
from urllib.parse import parse_qs, quote

import anyio.to_thread
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lifeloop.serve import keys, logs, problems, signin
from lifeloop.serve.problems import Problem
from lifeloop.serve.service import Service
from lifeloop.serve.tracing import Tracing

OPEN = frozenset({"/healthz", "/readyz", "/lifeloop.js"})
"""Paths that need no key: probes, which say nothing, and the script for pages."""

PAGES = ("/dashboard", "/login", "/logout")
"""Paths of people, who sign in (``lifeloop.serve.signin``) and hold no key."""

FREE = "/login"
STATIC = "/dashboard/static/"

EVENTS = "/v1/events"

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"strict-transport-security", b"max-age=31536000"),
]
_POLICY = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_PAGE_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    b"base-uri 'none'"
)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


class Gate:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, *, service: Service, spans: Tracing) -> None:
        self._app = app
        self._service = service
        self._spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = _Asked(scope)
        with self._spans.span(asked.headers) as span:
            route, status = await self._answered(asked, receive, send)
            span.told(method=asked.method, route=route, status=status)

    async def _answered(self, asked: "_Asked", receive: Receive, send: Send) -> tuple[str, int]:
        scope = asked.scope
        answer = _Answer(send, asked, self._service.settings.origins)
        try:
            if asked.of_people:
                await anyio.to_thread.run_sync(self._sign_in, asked)
            else:
                self._admit(asked)
            await self._app(scope, receive, answer.send)
        except Exception as error:
            if not isinstance(error, Problem):
                logs.failure(error, request_id=asked.request_id)
            if answer.status is None:
                problem = problems.of(error, retry_after_s=self._service.settings.retry_after_s)
                response = problems.response(problem, request_id=asked.request_id)
                await response(scope, receive, answer.send)
        finally:
            told = self._told(asked, answer)
        return told

    def _admit(self, asked: "_Asked") -> None:
        if asked.path in OPEN or asked.method == "OPTIONS":
            return
        service, now_s = self._service, time.monotonic()
        if service.refusals.empty(asked.address, now_s=now_s):
            raise _too_many(1.0)
        key = keys.find(service.keys(), asked.key)
        if key is None:
            service.refusals.wait_s(asked.address, now_s=now_s)
            raise Problem(
                401,
                "this needs an API key" if asked.key is None else "this API key is not known",
                hint="send Authorization: Bearer ll_…; `lifeloop keys create` makes one",
                headers={"www-authenticate": "Bearer"},
                error="unauthorized",
            )
        wait_s = service.rates.wait_s(key.id, now_s=now_s)
        if wait_s:
            raise _too_many(wait_s)
        asked.scope["state"]["key"] = key
        asked.key_id = key.id

    def _sign_in(self, asked: "_Asked") -> None:
        """Let people who are signed in to the pages; send others to the form."""
        if asked.path == FREE or asked.path.startswith(STATIC):
            return
        session = signin.session_of(
            self._service.loop.store.kept, asked.cookie, at_us=self._service.now_us()
        )
        asked.scope["state"]["session"] = session
        if session is None:
            goal = quote(asked.path, safe="/%")
            raise Problem(
                303,
                "sign in first",
                headers={"location": f"/login?next={goal}"},
                error="sign-in",
            )

    def _told(self, asked: "_Asked", answer: "_Answer") -> tuple[str, int]:
        seconds = time.perf_counter() - asked.started
        route = getattr(asked.scope.get("route"), "path", "unknown")
        status = answer.status or 500
        self._service.metrics.request(asked.method, route, status, seconds)
        logs.request(
            method=asked.method,
            route=route,
            status=status,
            seconds=seconds,
            request_id=asked.request_id,
            key_id=asked.key_id,
        )
        return route, status


class _Asked:
    """One request as it came; its path stays percent-encoded until the route takes it apart."""

    def __init__(self, scope: Scope) -> None:
        self.started = time.perf_counter()
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self.headers = headers
        self.scope: MutableMapping[str, Any] = scope
        raw = scope.get("raw_path") or quote(scope["path"]).encode()
        self.path = raw.split(b"?")[0].decode("ascii", "replace")
        # so that an id may hold a slash: %2F is a slash of the id, / one of the path
        scope["path"] = self.path
        self.method: str = scope["method"]
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})
        scope["state"]["request_id"] = self.request_id
        self.address = str((scope.get("client") or ("?",))[0])
        self.key_id: str | None = None

    @property
    def of_people(self) -> bool:
        """Whether this is a page, or part of one."""
        return any(self.path == page or self.path.startswith(f"{page}/") for page in PAGES)

    @property
    def cookie(self) -> str | None:
        """The token of the session."""
        jar = cookie_parser(self.headers.get(b"cookie", b"").decode("latin-1"))
        return jar.get(signin.COOKIE)

    @property
    def key(self) -> str | None:
        scheme, _, token = self.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() == "bearer":
            return token.strip()
        if header := self.headers.get(b"x-api-key"):
            return header.decode("latin-1")
        if self.path == EVENTS and self.method == "POST":  # sendBeacon cannot set a header
            query = parse_qs(str(self.scope["query_string"], "latin-1"))
            return query["key"][0] if "key" in query else None
        return None


class _Answer:
    """The response on its way out, with the headers that every response has."""

    def __init__(self, send: Send, asked: _Asked, origins: tuple[str, ...]) -> None:
        self._send = send
        self._asked = asked
        self._origins = origins
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        """Pass one message on."""
        if message["type"] == "http.response.start":
            self.status = cast(int, message["status"])
            page = self._asked.of_people
            held = {name.lower() for name, _ in message.get("headers", [])}
            more = [
                *_HEADERS,
                (b"content-security-policy", _PAGE_POLICY if page else _POLICY),
                (b"cache-control", b"no-store"),
                (b"x-request-id", self._asked.request_id.encode()),
                *self._crossing(),
            ]
            message["headers"] = [
                *message.get("headers", []),
                *((name, value) for name, value in more if name not in held),
            ]
        await self._send(message)

    def _crossing(self) -> list[tuple[bytes, bytes]]:
        """Let the pages of the origins that were named send events, and read nothing else."""
        origin = self._asked.headers.get(b"origin", b"").decode("latin-1")
        if self._asked.path != EVENTS or origin not in self._origins:
            return []
        return [
            (b"access-control-allow-origin", origin.encode()),
            (b"access-control-allow-methods", b"POST"),
            (b"access-control-allow-headers", b"authorization, content-type"),
            (b"access-control-max-age", b"600"),
            (b"vary", b"origin"),
        ]


def _too_many(wait_s: float) -> Problem:
    return Problem(
        429,
        "too many requests",
        hint="wait as long as Retry-After says",
        headers={"retry-after": str(max(1, round(wait_s + 0.5)))},
    )
