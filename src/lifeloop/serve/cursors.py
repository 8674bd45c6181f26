"""Where a caller is in a list: the slates already shown, by the ids of their requests.

The next page is the best of what was not shown yet, so nothing repeats and nothing is skipped,
whatever was learned or stored between two pages.
"""

import base64
import binascii
import uuid
from collections.abc import Sequence

from lifeloop.serve.problems import Problem

_BYTES = 16
_PAGES = 200


def write(request_ids: Sequence[str]) -> str:
    """Return the cursor after these slates."""
    raw = b"".join(uuid.UUID(hex=request_id).bytes for request_id in request_ids)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read(cursor: str) -> list[str]:
    """Return the ids of the requests whose slates were shown. Raises ``Problem`` 422."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _bad() from None
    if not raw or len(raw) % _BYTES or len(raw) > _PAGES * _BYTES:
        raise _bad()
    return [uuid.UUID(bytes=raw[at : at + _BYTES]).hex for at in range(0, len(raw), _BYTES)]


def _bad() -> Problem:
    return Problem(
        422,
        "this is no cursor",
        hint="send the cursor of the page before, unchanged, or none for the first page",
        error="input-error",
    )
