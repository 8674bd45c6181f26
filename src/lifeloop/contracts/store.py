"""The system of record."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import polars as pl

from lifeloop.contracts.findings import Finding
from lifeloop.contracts.history import Changes, History, Snapshot
from lifeloop.contracts.intake import (
    Alias,
    AliasKind,
    ErasureReport,
    IdentityReport,
    IngestReport,
    Repair,
)
from lifeloop.contracts.policy import Decision
from lifeloop.contracts.retention import Cutoffs, Expired
from lifeloop.events.records import Item, QuarantinedRow, User


@dataclass(frozen=True, slots=True)
class Head:
    """Where the store stands: what every request asks first, in one read.

    ``items_seq`` is the number of the newest version of any item; ``removal`` rises whenever
    somebody is erased or something has expired.
    """

    seq: int
    first_event_us: int | None
    last_event_us: int | None
    bundle: str | None
    items_seq: int
    removal: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """What a request asks of one person: ``user`` None where there is no record of them."""

    head: Head
    user: User | None
    history: History


class Kept(Protocol):
    """Small named JSON objects that the processes of one service share: keys, sessions, jobs."""

    def put(self, kind: str, name: str, body: Mapping[str, Any], *, at_us: int) -> None:
        """Keep an object under a name, in place of an earlier one; durable before it returns."""
        ...

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return one object, None where there is none."""
        ...

    def every(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return all objects of a kind by name, oldest first."""
        ...

    def drop(self, kind: str, name: str) -> bool:
        """Forget one object; return whether it was there."""
        ...


@dataclass(frozen=True, slots=True)
class LakeReport:
    """Where the lake stands, and what the call did to it."""

    seq: int
    behind: int
    files: int
    rows: int
    written: int = 0
    rewritten: int = 0


class Lake(Protocol):
    """Everything the store learned as Parquet files, by local day."""

    def status(self) -> LakeReport:
        """Return where the lake stands; ``behind`` counts numbers it has not followed."""
        ...

    def extend(self) -> LakeReport:
        """Follow the store to its newest number, and apply what was removed from it since."""
        ...

    def check(self, *, quick: bool = False) -> list[Finding]:
        """Say whether the files are what their list and the store say; changes nothing."""
        ...

    def compact(self) -> LakeReport:
        """Merge the files of each day into one."""
        ...

    def rebuild(self) -> LakeReport:
        """Write the lake anew from the store."""
        ...

    def snapshot(self, *, as_of_us: int | None = None, seq: int | None = None) -> Snapshot:
        """Return what ``Store.snapshot`` returns, from the files alone."""
        ...


@runtime_checkable
class Store(Protocol):
    """The system of record. Writes are durable and idempotent; reads never write."""

    @property
    def kept(self) -> Kept:
        """What the processes of one service share."""
        ...

    def exclusive(self, name: str, *, wait_s: float = 0.0) -> AbstractContextManager[bool]:
        """Hold a named lock among all processes of this store; False where another holds it."""
        ...

    @property
    def url(self) -> str:
        """The database URL, without any password."""
        ...

    def append(
        self, events: pl.DataFrame, *, received_us: int, repairs: Sequence[Repair] = ()
    ) -> IngestReport:
        """Store event rows (``EVENT_SCHEMA`` + ``t_us``); durable before it returns.

        ``repairs``, one per row, leave quarantine in the same transaction; so in the next two.
        """
        ...

    def put_users(
        self, rows: pl.DataFrame, *, received_us: int, repairs: Sequence[Repair] = ()
    ) -> IngestReport:
        """Append versions of users (``USER_SCHEMA``); an unchanged row is a duplicate."""
        ...

    def put_items(
        self, rows: pl.DataFrame, *, received_us: int, repairs: Sequence[Repair] = ()
    ) -> IngestReport:
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

    def profile(self, user_id: str) -> Profile:
        """Return a user's record and whole history, and where the store stood at that moment.

        What ``head``, ``users`` and ``histories`` return, in one trip. Not for visitors.
        """
        ...

    def users(self, user_ids: Sequence[str], *, seq: int | None = None) -> list[User | None]:
        """Return the version of each user known at ``seq``."""
        ...

    def items(self, item_ids: Sequence[str], *, seq: int | None = None) -> list[Item | None]:
        """Return the version of each item known at ``seq``."""
        ...

    def catalogue(self, *, seq: int | None = None) -> pl.DataFrame:
        """Return every item (``ITEM_SCHEMA``) in the version known at ``seq``."""
        ...

    def items_since(self, seq: int) -> list[Item]:
        """Return the items that changed after ``seq``, each as it is now."""
        ...

    def newest_items(self, n: int) -> list[Item]:
        """Return the items behind the ``n`` last changes, newest first."""
        ...

    def snapshot(
        self,
        *,
        as_of_us: int | None = None,
        seq: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> Snapshot:
        """Return everything known at ``seq`` with event time before ``as_of_us``.

        ``columns``: those of the events; what is not asked for is not read.
        """
        ...

    def changes(self, *, after_seq: int) -> Changes:
        """Return the events that came after ``after_seq``, and whose past changed."""
        ...

    def events_of(self, user_ids: Sequence[str], *, seq: int) -> pl.DataFrame:
        """Return every event of these people as known at ``seq`` (``STORED_EVENT_SCHEMA``)."""
        ...

    def identify(
        self, anonymous_id: str, user_id: str, *, received_us: int, kind: AliasKind = "device"
    ) -> IdentityReport:
        """Link an alias to a user, once; raises ``IdentityRefused``."""
        ...

    def aliases(self, user_id: str, *, seq: int | None = None) -> list[Alias]:
        """Return the aliases of a user known at ``seq``, oldest first."""
        ...

    def first_name(self, person: str) -> str:
        """Return the name under which a person was first met; it outlives their sign-in."""
        ...

    def identity_audit(self) -> list[dict[str, Any]]:
        """Return every refused link, oldest first."""
        ...

    def erase(self, user_id: str, *, at_us: int) -> ErasureReport:
        """Remove a person with every alias; whatever comes of them later is refused."""
        ...

    def expiring(self, cutoffs: Cutoffs) -> Expired:
        """Return how many rows are older than their cut-off; changes nothing."""
        ...

    def expire(self, cutoffs: Cutoffs, *, at_us: int) -> Expired:
        """Remove what is older than its cut-off; older events are refused from then on."""
        ...

    def held(self, user_id: str) -> dict[str, Any]:
        """Return everything that is held about a person, as plain JSON."""
        ...

    def backup(self, path: Path, *, files: Mapping[str, Path] | None = None) -> dict[str, Any]:
        """Write one moment of the store, and ``files`` beside it, to one file."""
        ...

    def restore(self, path: Path) -> dict[str, Any]:
        """Put the rows of a backup into this store, which must be empty; all or none."""
        ...

    def dump(self) -> Generator[dict[str, Any]]:
        """Yield every row of one moment as plain JSON, in the order in which it was learned.

        ``row`` says what it is: event, user, item, link, decision, refused.
        """
        ...

    def lake(self, url: str, *, zone: str) -> Lake:
        """Return the lake of this store at a folder or fsspec URL; ``zone`` says its days."""
        ...

    def check(self, *, now_us: int, quick: bool = False) -> list[Finding]:
        """Say whether the database is whole and agrees with itself; changes nothing."""
        ...

    def quarantine(self, rows: Sequence[QuarantinedRow], *, received_us: int) -> int:
        """Keep refused rows; return how many were not there yet."""
        ...

    def quarantined(
        self, *, reason: str | None = None, limit: int | None = None
    ) -> list[QuarantinedRow]:
        """Return refused rows, oldest first."""
        ...

    def settle(self, repairs: Sequence[Repair], *, outcome: str, at_us: int) -> None:
        """Take refused rows out of quarantine without storing them; it is audited."""
        ...

    def repairs(self, *, limit: int | None = None) -> list[dict[str, Any]]:
        """Return who let which refused row out and what was changed, oldest first."""
        ...

    def release(self, quarantine_ids: Sequence[int]) -> int:
        """Remove rows from quarantine after they were replayed; return how many."""
        ...

    def log_decision(self, decision: Decision) -> None:
        """Log one slate; durable before it returns."""
        ...

    def decided(self, request_ids: Sequence[str]) -> list[Decision | None]:
        """Return the slate logged under each request id, in the order asked."""
        ...

    def decisions(self, *, from_seq: int = 0, to_seq: int | None = None) -> Iterator[Decision]:
        """Yield logged slates by the event sequence they saw."""
        ...

    def newest_decisions(self, n: int, *, to_seq: int | None = None) -> Iterator[Decision]:
        """Yield the n newest logged slates that saw at most ``to_seq``, newest first."""
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

    def head(self) -> Head:
        """Return the newest sequence number, the span of event time and the active bundle."""
        ...

    def last_seq(self) -> int:
        """Return the newest sequence number, 0 when empty."""
        ...

    def first_event_us(self) -> int | None:
        """Return the oldest event time, None when no event has one."""
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

    def ids_with_prefix(self, prefix: str) -> int:
        """Return how many users have an id that begins so, in events or in records."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...
