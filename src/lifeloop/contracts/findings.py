"""What an examination of a project found."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["ok", "note", "warning", "failure"]
"""``note`` needs no action, ``warning`` will cost something, ``failure`` is wrong now."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what it is, how bad, and what to do next."""

    check: str
    severity: Severity
    said: str
    count: int = 0
    examples: tuple[str, ...] = ()
    next: str | None = None
