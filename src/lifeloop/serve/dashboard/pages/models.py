"""The models: which bundle answers, where each came from; activate, roll back, train."""

from typing import Any

import anyio
import anyio.to_thread
from fastapi import Request
from starlette.responses import Response, StreamingResponse

from lifeloop.serve.dashboard.view import Pages, View
from lifeloop.serve.jobs import RUNNING
from lifeloop.serve.route import service_of
from lifeloop.serve.routes.models import progress

pages = Pages()

HOME = "/dashboard/models"
_NEW: dict[str, Any] = dict.fromkeys(("step", "done", "total", "bundle", "error"))
"""What a job does not say before its process has begun."""


@pages.get("/dashboard/models")
def models(view: View) -> Response:
    """List the bundles and trainings."""
    service = view.service
    refused = service.loop.live.refused
    bundles = [
        {**row, "trouble": refused.get(row["bundle"]), "facts": _facts(row["manifest"])}
        for row in service.loop.store.bundles()
    ]
    jobs = [_NEW | job for job in service.jobs.listed()[:10]]
    activations = service.loop.store.activations()
    return view.show(
        "models.html",
        bundles=bundles,
        jobs=jobs,
        running=next((job for job in jobs if job["state"] in RUNNING), None),
        activations=activations[::-1][:15],
        can_go_back=len({bundle for bundle, _ in activations}) > 1,
        done=view.asked("done"),
        bundle=view.asked("bundle"),
    )


@pages.post("/dashboard/models/activate")
def activate(view: View) -> Response:
    """Make a bundle the active one, if it opens."""
    bundle = view.form.get("bundle", "")
    view.service.loop.activate(bundle)
    return view.back(HOME, done="activated", bundle=bundle)


@pages.post("/dashboard/models/rollback")
def rollback(view: View) -> Response:
    """Go back to the bundle that was active before."""
    return view.back(HOME, done="rolled_back", bundle=view.service.loop.rollback())


@pages.post("/dashboard/models/train")
def train(view: View) -> Response:
    """Begin to train in the background."""
    view.service.jobs.start()
    return view.back(HOME)


async def follow(request: Request) -> Response:
    """Follow a training by server-sent events."""
    service, job = service_of(request), str(request.path_params["job"])
    await anyio.to_thread.run_sync(service.jobs.get, job)
    return StreamingResponse(progress(service, job), media_type="text/event-stream")


pages.router.add_api_route("/dashboard/models/train/{job}/events", follow, methods=["GET"])


def _facts(manifest: dict[str, Any]) -> list[tuple[str, Any]]:
    named = ("interactions", "users", "items", "encoder", "seq", "config_hash")
    seconds = manifest.get("seconds") or {}
    told = [(name, manifest[name]) for name in named if manifest.get(name) is not None]
    return [*told, ("seconds", round(sum(seconds.values()), 1))] if seconds else told
