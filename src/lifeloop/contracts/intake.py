"""What becomes of rows that are written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lifeloop.events.records import QuarantinedRow


@dataclass(frozen=True, slots=True)
class Reason:
    """Why rows were refused or flagged: how many, and the first line numbers."""

    reason: str
    count: int
    lines: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of every row of one write. accepted + duplicate + rejected = rows seen.

    ``outcomes`` tells it row by row (``accepted``, ``duplicate`` or the reason of the refusal),
    for writes of at most 10,000 rows; ``event_ids`` are those of the rows not refused.
    """

    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    reasons: tuple[Reason, ...] = ()
    flagged: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    event_ids: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()

    def __add__(self, other: "IngestReport") -> "IngestReport":
        """Add two reports: counts add, equal reasons merge, the first 20 lines are kept."""
        return IngestReport(
            accepted=self.accepted + other.accepted,
            duplicate=self.duplicate + other.duplicate,
            rejected=self.rejected + other.rejected,
            reasons=_merge(self.reasons, other.reasons),
            flagged=_merge(self.flagged, other.flagged),
            notes=tuple(dict.fromkeys(self.notes + other.notes)),
            event_ids=self.event_ids + other.event_ids,
            outcomes=self.outcomes + other.outcomes,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON data."""
        listed = {
            name: [{"reason": r.reason, "count": r.count, "lines": list(r.lines)} for r in rows]
            for name, rows in (("reasons", self.reasons), ("flagged", self.flagged))
        }
        return {
            "accepted": self.accepted,
            "duplicate": self.duplicate,
            "rejected": self.rejected,
            **listed,
            "notes": list(self.notes),
        }


def _merge(left: tuple[Reason, ...], right: tuple[Reason, ...]) -> tuple[Reason, ...]:
    merged: dict[str, Reason] = {}
    for row in left + right:
        old = merged.get(row.reason)
        merged[row.reason] = (
            row
            if old is None
            else Reason(row.reason, old.count + row.count, (old.lines + row.lines)[:20])
        )
    return tuple(merged.values())


AliasKind = Literal["device", "mail_hash", "openid", "unionid", "account"]
"""What an alias is: a device or browser, the hash of a mail address, a WeChat id of one app or of
all apps of a company, or the id of the same person in another system."""


@dataclass(frozen=True, slots=True)
class Alias:
    """A name under which a user also appears as ``anonymous_id``, known from ``seq`` on."""

    alias: str
    kind: AliasKind
    seq: int
    at_us: int


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What an erasure removed, in rows; ``cleaned`` are events of others that named the person."""

    user_id: str
    visitors: int
    seq: int
    events: int
    profiles: int
    links: int
    decisions: int
    quarantined: int
    audited: int
    cleaned: int


@dataclass(frozen=True, slots=True)
class Repair:
    """A refused row that is let out: who did it, and field -> (what it was, what it is now)."""

    row: QuarantinedRow
    who: str
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IdentityReport:
    """What ``identify`` did: ``linked``, ``already`` or (raised) refused."""

    anonymous_id: str
    user_id: str
    status: Literal["linked", "already"]
    seq: int
    events: int = 0
