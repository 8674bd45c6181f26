"""The hot way in: one event or thousands, durable before 202, each row told what became of it."""

from collections.abc import Sequence
from typing import Any

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lifeloop.contracts import IngestReport
from lifeloop.serve import body
from lifeloop.serve.problems import Problem
from lifeloop.serve.route import allow, service_of
from lifeloop.serve.settings import ServeSettings

NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")


async def events(request: Request) -> Response:
    """Store events: a JSON object, a JSON list, ``{"events": [...]}`` or NDJSON; also gzip."""
    if request.method == "OPTIONS":
        return Response(status_code=204)
    allow(request, "ingest")
    service = service_of(request)
    raw = await body.read(request, service.settings)
    rows = _rows(raw, request.headers.get("content-type", ""), service.settings)
    report = await anyio.to_thread.run_sync(service.record, rows, limiter=service.writers)
    status = 202 if report.accepted + report.duplicate or not rows else 422
    return Response(
        msgspec.json.encode(_told(report)), status_code=status, media_type="application/json"
    )


def _rows(raw: bytes, content_type: str, limits: ServeSettings) -> Sequence[Any]:
    kind = content_type.split(";")[0].strip().lower()
    if kind in NDJSON:
        rows: Any = [_line(line, limits) for line in body.lines(raw)]
    else:
        rows = body.decoded(raw, max_depth=limits.max_depth)
        if isinstance(rows, dict) and isinstance(rows.get("events"), list):
            rows = rows["events"]
        elif isinstance(rows, dict):
            rows = [rows]
    if not isinstance(rows, list):
        raise Problem(
            422,
            "events are objects",
            hint='send one event, a list of them, or {"events": [...]}',
            error="input-error",
        )
    if len(rows) > limits.max_batch:
        raise Problem(
            413,
            "too many events in one request",
            hint="send several batches; event_id makes repeats harmless",
            allowed=f"{limits.max_batch:,} events",
        )
    return rows


def _line(line: bytes, limits: ServeSettings) -> Any:
    """Return one line of NDJSON; a damaged one is one refused row, not a refused batch."""
    try:
        return body.decoded(line, max_depth=limits.max_depth)
    except Problem:
        return line[:1000].decode("utf-8", "replace")


def _told(report: IngestReport) -> dict[str, Any]:
    told = report.to_dict()
    ids = iter(report.event_ids)
    told["results"] = [
        {"status": outcome, "event_id": next(ids)}
        if outcome in ("accepted", "duplicate")
        else {"status": "rejected", "reason": outcome}
        for outcome in report.outcomes
    ]
    return told


ROUTE = Route("/v1/events", events, methods=["POST", "OPTIONS"])

_EVENT = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"type": "string", "minLength": 1},
        "user_id": {"type": "string"},
        "anonymous_id": {"type": "string"},
        "event_id": {"type": "string", "description": "makes a repeat harmless"},
        "occurred_at": {"type": "string", "format": "date-time"},
        "item_id": {"type": "string"},
        "value": {"type": "number"},
        "quantity": {"type": "number"},
        "order_id": {"type": "string"},
        "request_id": {"type": "string", "description": "the slate that this answers"},
        "position": {"type": "integer"},
        "context": {"type": "object"},
    },
}
_BATCH = {"oneOf": [_EVENT, {"type": "array", "items": _EVENT, "maxItems": 10_000}]}
DOCUMENT: dict[str, Any] = {
    "/v1/events": {
        "post": {
            "summary": "Store events",
            "description": events.__doc__,
            "operationId": "post_events",
            "tags": ["events"],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": _BATCH},
                    "application/x-ndjson": {"schema": {"type": "string"}},
                },
            },
            "responses": {
                "202": {
                    "description": "stored, durably; one result per row",
                    "content": {"application/json": {"schema": {"type": "object"}}},
                },
            },
        }
    }
}
