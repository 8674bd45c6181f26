"""When a call is made again, and after how long."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from lifeloop.client.calls import Call

_LATER = frozenset({429, 502, 503, 504, 507})


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a call is made at most, and the pauses between: doubling, and never in step."""

    tries: int = 5
    first_s: float = 0.2
    longest_s: float = 10.0

    def pauses(self) -> Iterator[float]:
        """Yield one pause after each try but the last."""
        for n in range(self.tries - 1):
            most = min(self.longest_s, self.first_s * 2**n)
            yield most * (0.5 + random.random() / 2)


def worth_another(call: Call[Any], outcome: httpx.Response | httpx.TransportError) -> bool:
    """Return whether a call may succeed later and does no harm if it happened already."""
    if isinstance(outcome, httpx.ConnectError):
        return True  # it never arrived
    if isinstance(outcome, httpx.TransportError):
        return call.repeatable
    return outcome.status_code in _LATER and (call.repeatable or outcome.status_code == 429)


def told_to_wait_s(outcome: httpx.Response | httpx.TransportError) -> float:
    """Return what ``Retry-After`` says, 0 where it says nothing."""
    if isinstance(outcome, httpx.TransportError):
        return 0.0
    text = outcome.headers.get("retry-after", "")
    return float(text) if text.isdigit() else 0.0
