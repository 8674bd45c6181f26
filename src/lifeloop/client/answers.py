"""What the service answers, as types. Fields that a newer service adds are left out."""

from typing import Any

import msgspec


class Row(msgspec.Struct, frozen=True):
    """What became of one event: ``accepted``, ``duplicate`` or ``rejected`` with its reason."""

    status: str
    event_id: str | None = None
    reason: str | None = None


class Counted(msgspec.Struct, frozen=True):
    """Why rows were refused or flagged, how many, and the first of them."""

    reason: str
    count: int
    lines: list[int] = []


class WrittenRow(msgspec.Struct, frozen=True):
    """What became of one item or user: ``accepted``, ``duplicate`` (as it is stored already) or
    ``rejected`` with its reason."""

    status: str
    item_id: str | None = None
    user_id: str | None = None
    reason: str | None = None


class Counts(msgspec.Struct, frozen=True):
    """How many rows of one write became what."""

    accepted: int
    duplicate: int
    rejected: int
    reasons: list[Counted] = []
    flagged: list[Counted] = []
    notes: list[str] = []


class Written(Counts, frozen=True):
    """What became of items or users, row by row."""

    results: list[WrittenRow] = []


class Removed(msgspec.Struct, frozen=True):
    """How many items were removed, which ids were not there, and ``removed`` or ``missing`` each.

    ``results`` are in the order asked.
    """

    removed: int
    missing: list[str] = []
    results: list[WrittenRow] = []


class Sent(Counts, frozen=True):
    """What became of events, row by row."""

    results: list[Row] = []


class Recommended(msgspec.Struct, frozen=True):
    """One recommended item. See ``lifeloop.contracts.Recommendation``."""

    item_id: str
    rank: int
    score: float
    title: str | None = None
    source: str | None = None
    propensity: float | None = None
    reason: dict[str, Any] | None = None
    stage: str | None = None
    bundle: str | None = None
    fallback: bool = False


class Slate(msgspec.Struct, frozen=True):
    """A slate. ``cursor`` asks for the next page; ``level`` says how it came about."""

    user_id: str
    request_id: str
    recommendations: list[Recommended]
    stage: str
    level: str
    logged: bool
    bundle: str | None = None
    fallback: str | None = None
    shortfall: str | None = None
    cursor: str | None = None
    unknown: list[str] = []
    context_unused: list[str] = []
    context_hints: dict[str, str] = {}


class Job(msgspec.Struct, frozen=True):
    """A training: ``starting``, ``running``, ``done``, ``failed``, ``refused`` or ``lost``."""

    job: str
    state: str
    step: str | None = None
    done: float | None = None
    total: float | None = None
    bundle: str | None = None
    error: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state not in ("starting", "running")
