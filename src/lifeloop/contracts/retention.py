"""How long what is kept, and what goes when it is over."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """The moments before which rows go, microseconds UTC; None keeps all of a kind."""

    events_us: int | None = None
    decisions_us: int | None = None
    quarantine_us: int | None = None
    audit_us: int | None = None

    def __bool__(self) -> bool:
        cut = (self.events_us, self.decisions_us, self.quarantine_us, self.audit_us)
        return any(moment is not None for moment in cut)


@dataclass(frozen=True, slots=True)
class Expired:
    """How many rows went, or would go."""

    events: int = 0
    decisions: int = 0
    quarantined: int = 0
    audited: int = 0
    repairs: int = 0
