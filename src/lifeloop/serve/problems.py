"""Every failure as application/problem+json (RFC 9457) that says what to do."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lifeloop import errors

MEDIA_TYPE = "application/problem+json"

_STATUS: tuple[tuple[type[errors.LifeloopError], int], ...] = (
    (errors.UnknownId, 404),
    (errors.IdentityRefused, 409),
    (errors.NoModel, 409),
    (errors.BundleError, 409),
    (errors.StoreFull, 507),
    (errors.StoreError, 503),
    (errors.MissingExtra, 501),
    (errors.InputError, 422),
    (errors.ConfigError, 422),
)
_RETRY = (503, 507)


class Problem(HTTPException):
    """A refusal of the service itself, with its status and what to do next."""

    # an HTTPException, so that it comes through FastAPI's reading of bodies as it is

    def __init__(
        self,
        status: int,
        title: str,
        *,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(status, title, dict(headers or {}))
        self.title = title
        self.hint = hint
        self.more = more

    @property
    def status(self) -> int:
        """HTTP's status."""
        return self.status_code


def of(error: Exception, *, retry_after_s: int) -> Problem:
    """Return the problem that stands for an exception; an unknown one says nothing of itself."""
    if isinstance(error, Problem):
        return error
    for kind, status in _STATUS:
        if isinstance(error, kind):
            headers = {"retry-after": str(retry_after_s)} if status in _RETRY else {}
            return Problem(
                status,
                getattr(error, "what", str(error)),
                hint=getattr(error, "hint", None),
                headers=headers,
                error=_dashed(type(error).__name__),
                allowed=getattr(error, "allowed", None),
                problems=list(getattr(error, "problems", ()) or ()) or None,
            )
    return Problem(
        500,
        "the service failed; nothing more is known to the caller",
        hint="repeat the request; give the operator this request id, which is in the log",
        error="internal",
    )


def invalid(faults: Sequence[Mapping[str, Any]]) -> Problem:
    """Return the problem of a request that does not fit its schema, all faults at once."""
    listed = [
        f"{'.'.join(str(part) for part in fault.get('loc', ()))}: {fault.get('msg', 'invalid')}"
        for fault in faults
    ]
    return Problem(
        422,
        "the request does not fit",
        hint="see /openapi.json for what is allowed",
        error="input-error",
        problems=listed,
    )


def response(problem: Problem, *, request_id: str) -> Response:
    """Return the problem as a response."""
    body: dict[str, Any] = {
        "type": f"urn:lifeloop:problem:{problem.more.get('error') or _dashed(problem.title)}",
        "title": problem.title,
        "status": problem.status,
        "request_id": request_id,
    }
    if problem.hint is not None:
        body["next"] = problem.hint
    body |= {k: v for k, v in problem.more.items() if v is not None and k != "error"}
    return Response(
        msgspec.json.encode(body),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=dict(problem.headers or {}),
    )


def _dashed(text: str) -> str:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", text)
    return re.sub(r"[^a-z0-9]+", "-", spaced.lower()).strip("-")[:40]
