"""The shared words: what the parts of lifeloop hand each other.

Letters used in shapes: B queries, L history length, n events, I items, d vector width,
k slate or candidate length.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.events.records import Item, User

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Int = NDArray[np.int32]
Long = NDArray[np.int64]
Bool = NDArray[np.bool_]

UNTIMED = np.iinfo(np.int64).min
"""``t_us`` of an event without a time, in arrays: before everything."""


# ---------------------------------------------------------------- intake


@dataclass(frozen=True, slots=True)
class Reason:
    """Why rows were refused or flagged: how many, and the first line numbers."""

    reason: str
    count: int
    lines: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of every row of one write. accepted + duplicate + rejected = rows seen."""

    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    reasons: tuple[Reason, ...] = ()
    flagged: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    event_ids: tuple[str, ...] = ()

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


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """One refused row, kept as it came so that it can be repaired and replayed."""

    kind: Literal["event", "item", "user"]
    reason: str
    raw: Mapping[str, Any]
    source: str = ""
    line: int | None = None
    quarantine_id: int | None = None
    received_us: int | None = None


@dataclass(frozen=True, slots=True)
class IdentityReport:
    """What ``identify`` did: ``linked``, ``already`` or (raised) refused."""

    anonymous_id: str
    user_id: str
    status: Literal["linked", "already"]
    seq: int
    events: int = 0


# ---------------------------------------------------------------- history


@dataclass(frozen=True, slots=True)
class History:
    """Everything one person did up to a moment, oldest first, ties in arrival order.

    All lists have one entry per event. ``t_us`` is ``UNTIMED`` where the time is unknown;
    ``value``, ``quantity`` and ``rating`` are NaN where absent.
    """

    user_id: str
    known: bool
    type: tuple[str, ...]
    item_id: tuple[str | None, ...]
    t_us: Long
    value: Double
    quantity: Double
    rating: Double
    order_id: tuple[str | None, ...]
    text: tuple[str | None, ...]
    is_bot: Bool
    seq: Long

    def __len__(self) -> int:
        return len(self.type)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The store as known at ``seq`` and up to event time ``as_of_us`` (exclusive bound: t < as_of).

    ``events`` has ``STORED_EVENT_SCHEMA``; its ``user_id`` is resolved through the identity
    links (an unlinked visitor is ``anon:<anonymous_id>``), superseded order-line versions are
    out, and rows are sorted by (user_id, t_us, seq). ``users`` and ``items`` hold the version
    known at ``seq``.
    """

    events: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame
    as_of_us: int | None
    seq: int


# ---------------------------------------------------------------- decisions


@dataclass(frozen=True, slots=True)
class Decision:
    """One slate as it was decided, logged before it is answered.

    ``candidate_scores`` are the deterministic scores before the draw; ``propensities[j]`` is
    the probability of the item at position j given the items before it, None for slates that
    are not part of off-policy evaluation (cached, degraded).
    """

    request_id: str
    user_id: str
    t_us: int
    surface: str
    bundle: str | None
    seq: int
    stage: str | None
    policy: Mapping[str, Any]
    rng_seed: int
    candidate_ids: tuple[str, ...]
    candidate_scores: tuple[float, ...]
    slate_ids: tuple[str, ...]
    propensities: tuple[float, ...] | None
    level: str
    context: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Store(Protocol):
    """The system of record. Writes are durable and idempotent; reads never write."""

    @property
    def url(self) -> str:
        """The database URL, without any password."""
        ...

    def append(self, events: pl.DataFrame, *, received_us: int) -> IngestReport:
        """Store event rows (``EVENT_SCHEMA`` + ``t_us``); durable before it returns."""
        ...

    def put_users(self, rows: pl.DataFrame, *, received_us: int) -> IngestReport:
        """Append versions of users (``USER_SCHEMA``); an unchanged row is a duplicate."""
        ...

    def put_items(self, rows: pl.DataFrame, *, received_us: int) -> IngestReport:
        """Append versions of items (``ITEM_SCHEMA``); an unchanged row is a duplicate."""
        ...

    def bulk(self) -> AbstractContextManager[None]:
        """Trade per-call durability for speed until the block ends, which makes all durable."""
        ...

    def histories(
        self,
        user_ids: Sequence[str],
        *,
        as_of_us: int | None = None,
        seq: int | None = None,
        limit: int | None = None,
    ) -> list[History]:
        """Return one history per id, in the order asked; ``limit`` keeps the newest."""
        ...

    def users(self, user_ids: Sequence[str], *, seq: int | None = None) -> list[User | None]:
        """Return the version of each user known at ``seq``."""
        ...

    def items(self, item_ids: Sequence[str], *, seq: int | None = None) -> list[Item | None]:
        """Return the version of each item known at ``seq``."""
        ...

    def snapshot(self, *, as_of_us: int | None = None, seq: int | None = None) -> Snapshot:
        """Return everything known at ``seq`` with event time before ``as_of_us``."""
        ...

    def identify(self, anonymous_id: str, user_id: str, *, received_us: int) -> IdentityReport:
        """Link an anonymous id to a user, once; raises ``IdentityRefused``."""
        ...

    def quarantine(self, rows: Sequence[QuarantinedRow], *, received_us: int) -> None:
        """Keep refused rows."""
        ...

    def quarantined(
        self, *, reason: str | None = None, limit: int | None = None
    ) -> list[QuarantinedRow]:
        """Return refused rows, oldest first."""
        ...

    def release(self, quarantine_ids: Sequence[int]) -> int:
        """Remove rows from quarantine after they were replayed; return how many."""
        ...

    def log_decision(self, decision: Decision) -> None:
        """Log one slate; durable before it returns."""
        ...

    def decisions(self, *, from_seq: int = 0, to_seq: int | None = None) -> Iterator[Decision]:
        """Yield logged slates by the event sequence they saw."""
        ...

    def publish(self, bundle: str, manifest: Mapping[str, Any], *, at_us: int) -> None:
        """Record a bundle and make it the active one (a pointer swap)."""
        ...

    def activate(self, bundle: str, *, at_us: int) -> None:
        """Make a recorded bundle the active one."""
        ...

    def active_bundle(self) -> str | None:
        """Return the active bundle's id."""
        ...

    def bundles(self) -> list[dict[str, Any]]:
        """Return every recorded bundle, newest first: bundle, at_us, active, manifest."""
        ...

    def activations(self) -> list[tuple[str, int]]:
        """Return the history of the active pointer, oldest first, as (bundle, at_us)."""
        ...

    def last_seq(self) -> int:
        """Return the newest sequence number, 0 when empty."""
        ...

    def last_event_us(self) -> int | None:
        """Return the newest event time, None when no event has one."""
        ...

    def counts(self) -> dict[str, int]:
        """Return how many events, users, items, links, decisions, quarantined rows are held."""
        ...

    def event_types(self) -> dict[str, int]:
        """Return how many events of each type are held."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


# ---------------------------------------------------------------- encoders


class Encoder(Protocol):
    """Texts (or other records) to vectors. ``id`` names the encoder and all its settings."""

    @property
    def id(self) -> str:
        """Stable name of the encoder and its settings, part of the cache key."""
        ...

    @property
    def d(self) -> int:
        """Width of the vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> tuple[Float, Bool]:
        """Return unit vectors [n, d] and a mask [n], False where there was nothing to encode."""
        ...


# ---------------------------------------------------------------- models


@dataclass(frozen=True, slots=True)
class TrainData:
    """Interactions as arrays, sorted by (user, time, arrival).

    ``weight`` is the evidence of the event's type (scenario). ``rating`` is NaN where absent.
    Items carry content vectors through ``content_ix`` so that equal texts share one row:
    item i has vector ``content[content_ix[i]]``, or none where ``content_ix[i] == -1``.
    """

    user_ix: Int  # [n]
    item_ix: Int  # [n]
    t_us: Long  # [n]
    weight: Float  # [n]
    rating: Float  # [n]
    n_users: int
    item_ids: tuple[str, ...]  # [I]
    content: Float  # [c, d] unit rows
    content_ix: Int  # [I]
    as_of_us: int

    @property
    def n_items(self) -> int:
        """How many items the catalogue has."""
        return len(self.item_ids)


@dataclass(frozen=True, slots=True)
class Queries:
    """B requests: histories in CSR form, oldest first; items unknown to the model are left out.

    ``age_days`` is the event's age at the request (NaN where the time is unknown), ``weight``
    its evidence. ``vectors`` [B, d] come from what the user wrote or stated, with a mask.
    """

    indptr: Long  # [B+1]
    item_ix: Int  # [L]
    weight: Float  # [L]
    age_days: Float  # [L]
    rating: Float  # [L]
    as_of_us: Long  # [B]
    vectors: Float | None = None  # [B, d]
    mask: Bool | None = None  # [B]

    def __len__(self) -> int:
        return len(self.indptr) - 1


@dataclass(frozen=True, slots=True)
class Candidates:
    """The k best items per query, best first; -1 and -inf pad; ``reason[b]`` says why if short."""

    item_ix: Int  # [B, k]
    score: Float  # [B, k]
    reason: tuple[str | None, ...]  # [B]


class Retriever(Protocol):
    """A specification; ``fit`` returns a frozen fitted object."""

    @property
    def name(self) -> str:
        """Short name, as used on the command line and in reports."""
        ...

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedRetriever":
        """Learn from interactions and item vectors."""
        ...


class FittedRetriever(Protocol):
    """Answers queries by folding the history in; knows items by index and no user by name."""

    @property
    def name(self) -> str:
        """Name of the specification that was fitted."""
        ...

    def score(self, queries: Queries) -> Float:
        """Return [B, I] scores, higher is better; -inf where this model cannot say anything."""
        ...

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best ``k`` allowed items ([I] or [B, I]); ties go to the lower index."""
        ...

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return one amount per history event of query b, plus the bias last, summing to score."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state as named arrays (no objects)."""
        ...

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        ...


# ---------------------------------------------------------------- policy


@dataclass(frozen=True, slots=True)
class PolicyState:
    """The settings of one choice. temperature 0 is greedy; diversity is λ of the MMR penalty."""

    temperature: float = 0.0
    diversity: float = 0.0
    scale: float = 1.0
    stage: str | None = None


@dataclass(frozen=True, slots=True)
class Slate:
    """The chosen items in order, with the exact conditional propensity of each position.

    ``picked`` indexes the candidates given; ``reason`` says why the slate is short, if it is.
    """

    picked: Int  # [<= k]
    propensity: Double  # [<= k]
    utility: Double  # [<= k] penalised score at the moment of the draw
    reason: str | None = None


# ---------------------------------------------------------------- answers


@dataclass(frozen=True, slots=True)
class Evidence:
    """A true reason: how much of the score came from which of the user's events or facts."""

    text: str
    items: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One recommended item."""

    item_id: str
    title: str | None
    score: float
    rank: int
    source: str
    reason: Evidence
    propensity: float | None


@dataclass(frozen=True, slots=True)
class Recommendations(Sequence[Recommendation]):
    """A slate as answered: iterate over it for the recommendations.

    ``fallback`` is None for a personal slate, else the named fallback (``no_history``, …);
    ``shortfall`` says why there are fewer than asked; ``logged`` whether the decision is kept.
    """

    user_id: str
    request_id: str
    items: tuple[Recommendation, ...]
    stage: str
    bundle: str | None
    fallback: str | None
    shortfall: str | None
    logged: bool

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]


@dataclass(frozen=True, slots=True)
class StageResult:
    """Where one user stands on one date, and the rule that put them there.

    ``stage`` is what is shown: the overlay if there is one, else the product stage.
    """

    user_id: str
    date: str
    stage: str
    product_stage: str
    overlay: str | None
    activity: str | None
    since: str | None
    rule: str
    existing: bool
    gap_days: int | None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted rating, or the reason why there is none (then ``value`` is None)."""

    user_id: str
    item_id: str
    value: float | None
    basis: str
    reason: str | None = None
