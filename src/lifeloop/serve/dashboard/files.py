"""What a page loads beside itself: our style and script, and Vega from the installed wheel."""

import gzip
import hashlib
from functools import cache
from importlib import resources

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from lifeloop.serve.problems import Problem

router = APIRouter(include_in_schema=False)

_KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_OURS = ("dashboard.css", "dashboard.js", "icon.svg")
VEGA = "vega.js"


@router.get("/dashboard/static/{name}")
async def file(request: Request, name: str) -> Response:
    """Return one file; its address changes with its content, so it may be kept for a year."""
    if name not in (*_OURS, VEGA):
        raise Problem(404, "there is no such file", error="not-found")
    plain, packed = await anyio.to_thread.run_sync(_content, name)
    headers = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
    takes = "gzip" in request.headers.get("accept-encoding", "")
    if takes:
        headers["content-encoding"] = "gzip"
    kind = _KINDS[name.rpartition(".")[2]]
    return Response(packed if takes else plain, media_type=kind, headers=headers)


def address(name: str) -> str:
    """Return the address of a file, with what it is of."""
    return f"/dashboard/static/{name}?{_mark(name)}"


@cache
def _mark(name: str) -> str:
    if name == VEGA:
        from importlib.metadata import version

        return version("vl-convert-python")
    return hashlib.blake2b(_content(name)[0], digest_size=5).hexdigest()


@cache
def _content(name: str) -> tuple[bytes, bytes]:
    if name == VEGA:
        from lifeloop.charts.page import script

        plain = script()
    else:
        folder = resources.files("lifeloop.serve.dashboard").joinpath("static")
        plain = folder.joinpath(name).read_bytes()
    return plain, gzip.compress(plain, 6, mtime=0)
