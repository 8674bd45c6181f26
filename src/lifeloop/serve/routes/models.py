"""Bundles and how they come about: list, activate, roll back, train, follow the training."""

import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from fastapi import APIRouter, Response
from starlette.responses import StreamingResponse

from lifeloop.serve.jobs import RUNNING
from lifeloop.serve.route import Id, JsonRoute, Open, needs
from lifeloop.serve.service import Service

router = APIRouter(prefix="/v1", route_class=JsonRoute, tags=["models"])

_EVERY_S = 0.5
_LONGEST_S = 6 * 3600


@router.get("/models", dependencies=[needs("read")])
def models(service: Open) -> Response:
    """List the bundles, newest first; which is active, and which did not open."""
    refused = service.loop.live.refused
    listed = [
        {**row, "trouble": refused.get(row["bundle"])} for row in service.loop.store.bundles()
    ]
    return service.json({"models": listed})


@router.post(
    "/models/{bundle:id}/activate",
    dependencies=[needs("operate")],
    responses={409: {"description": "the bundle is not known, or does not open"}},
)
def activate(service: Open, bundle: Id) -> Response:
    """Make a bundle the active one, if it opens; requests in flight keep theirs."""
    service.loop.activate(bundle)
    return service.json({"active": bundle})


@router.post("/models/rollback", dependencies=[needs("operate")])
def rollback(service: Open) -> Response:
    """Go back to the bundle that was active before."""
    return service.json({"active": service.loop.rollback()})


@router.post(
    "/train",
    dependencies=[needs("operate")],
    status_code=202,
    responses={409: {"description": "one is running already"}},
)
def train(service: Open) -> Response:
    """Train in the background; follow it at ``/v1/train/{job}/events``."""
    job = service.jobs.start()
    headers = {"location": f"/v1/train/{job['job']}"}
    return service.json(job, status=202, headers=headers)


@router.get("/train", dependencies=[needs("read")])
def trainings(service: Open) -> Response:
    """List the trainings, newest first."""
    return service.json({"jobs": service.jobs.listed()})


@router.get("/train/{job:id}/events", dependencies=[needs("read")])
def follow(service: Open, job: Id) -> Response:
    """Follow a training by server-sent events, until it ends."""
    service.jobs.get(job)
    return StreamingResponse(progress(service, job), media_type="text/event-stream")


@router.get("/train/{job:id}", dependencies=[needs("read")])
def training(service: Open, job: Id) -> Response:
    """Return one training: its state, its step, its bundle or its error."""
    return service.json(service.jobs.get(job))


async def progress(service: Service, job: str) -> AsyncIterator[bytes]:
    """Yield the progress of a training as server-sent events, until it ends."""
    last: dict[str, Any] = {}
    until = time.monotonic() + _LONGEST_S
    while time.monotonic() < until:
        body = await anyio.to_thread.run_sync(service.jobs.get, job)
        shown = {name: value for name, value in body.items() if name != "beat_us"}
        if shown != last:
            yield b"event: progress\ndata: " + msgspec.json.encode(shown) + b"\n\n"
            last = shown
        else:
            yield b": alive\n\n"
        if body["state"] not in RUNNING:
            return
        await anyio.sleep(_EVERY_S)
