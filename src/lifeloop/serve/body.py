"""From bytes to JSON, within limits: size, gzip that opens to anything, depth, text."""

import zlib
from collections.abc import Iterator
from typing import Any

import msgspec
from starlette.requests import Request

from lifeloop.serve.problems import Problem
from lifeloop.serve.settings import ServeSettings

_STEP = 1 << 20


async def read(request: Request, limits: ServeSettings) -> bytes:
    """Return the body, opened if it is gzip.

    Raises
    ------
    Problem
        413 above a limit, 400 for damaged gzip, 415 for another encoding.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limits.max_body_bytes:
            raise too_large(limits.max_body_bytes)
        parts.append(part)
    raw = b"".join(parts)
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("identity", ""):
        return raw
    if coding not in ("gzip", "x-gzip"):
        raise Problem(
            415, "this content encoding is not read", hint="send gzip, or nothing", allowed="gzip"
        )
    return opened(raw, limit=limits.max_opened_bytes)


def opened(raw: bytes, *, limit: int) -> bytes:
    """Open gzip without ever holding more than ``limit`` bytes of it."""
    reader = zlib.decompressobj(wbits=31)
    parts, size = [], 0
    while raw and not reader.eof:
        try:
            part = reader.decompress(raw, min(_STEP, limit - size + 1))
        except zlib.error:
            raise _damaged() from None
        size += len(part)
        if size > limit:
            raise too_large(limit)
        if not part and not reader.unconsumed_tail:
            break
        parts.append(part)
        raw = reader.unconsumed_tail
    if not reader.eof or reader.unused_data:
        raise _damaged()
    return b"".join(parts)


def decoded(raw: bytes, *, max_depth: int) -> Any:
    """Return JSON as Python values. Raises ``Problem`` 400."""
    try:
        value = msgspec.json.decode(raw)
    except RecursionError:
        raise too_deep(max_depth) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "the body is not JSON", hint=str(error), error="bad-json") from None
    check_depth(value, max_depth)
    return value


def lines(raw: bytes) -> Iterator[bytes]:
    """Yield the lines of NDJSON that hold anything."""
    return (line for line in raw.split(b"\n") if line.strip())


def check_depth(value: Any, limit: int) -> None:
    """Refuse JSON that is nested deeper than ``limit``."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise too_deep(limit)


def too_large(limit: int) -> Problem:
    """Return the refusal of a body above a limit."""
    return Problem(
        413,
        "the body is too large",
        hint="send smaller batches",
        allowed=f"{limit:,} bytes",
    )


def too_deep(limit: int) -> Problem:
    """Return the refusal of JSON nested too deep."""
    return Problem(400, "the JSON is nested too deep", hint="flatten it", allowed=f"{limit} levels")


def _damaged() -> Problem:
    return Problem(400, "the body is not a whole gzip stream", hint="send it again")
