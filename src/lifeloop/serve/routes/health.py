"""Is it alive, is it ready, what does it count, what does it offer."""

from importlib import resources
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from lifeloop.errors import LifeloopError
from lifeloop.serve.metrics import CONTENT_TYPE
from lifeloop.serve.route import JsonRoute, Open, needs

_SCRIPT = resources.files("lifeloop.serve").joinpath("lifeloop.js").read_bytes()

router = APIRouter(route_class=JsonRoute, tags=["service"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"description": "the store does not answer"}})
def readyz(service: Open) -> Response:
    """Say whether events can be stored, and whether there is a model (which is no must)."""
    try:
        head = service.loop.store.head()
    except LifeloopError:
        after = {"retry-after": str(service.settings.retry_after_s)}
        return JSONResponse({"status": "no store"}, status_code=503, headers=after)
    return JSONResponse({"status": "ready", "model": head.bundle is not None})


@router.get("/lifeloop.js", include_in_schema=False)
async def script() -> Response:
    """Return the script with which a page sends what happens on it."""
    headers = {
        "cache-control": "public, max-age=3600",
        "cross-origin-resource-policy": "cross-origin",
    }
    return Response(_SCRIPT, media_type="text/javascript", headers=headers)


@router.get("/metrics", dependencies=[needs("read")], response_class=Response)
def metrics(service: Open) -> Response:
    """Return the counters in the format of Prometheus."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)


@router.get("/openapi.json", dependencies=[needs("read")], include_in_schema=False)
def openapi(request: Request) -> dict[str, Any]:
    """Return the OpenAPI document of this service."""
    from lifeloop.serve.app import document

    return document(request.app)
