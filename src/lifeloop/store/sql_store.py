"""The ``Store`` of contracts.py over any SQL database: one line per operation."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import sqlalchemy as sa

from lifeloop.contracts import (
    Alias,
    AliasKind,
    Changes,
    Cutoffs,
    Decision,
    ErasureReport,
    Expired,
    Finding,
    Head,
    History,
    IdentityReport,
    IngestReport,
    Profile,
    QuarantinedRow,
    Repair,
    Snapshot,
)
from lifeloop.events.records import ANONYMOUS_PREFIX, Item, User
from lifeloop.store import (
    appending,
    changes,
    clock,
    decisions,
    erasing,
    exclusive,
    expiring,
    histories,
    identity,
    profiles,
    quarantine,
    registry,
    repairing,
    snapshots,
    tables,
    versions,
)
from lifeloop.store.backend import Backend, bound
from lifeloop.store.held import held_about
from lifeloop.store.kept import SqlKept

if TYPE_CHECKING:
    from lifeloop.store.lake import Lake


class SqlStore:
    """The system of record; see ``lifeloop.contracts.Store`` for what each operation promises.

    Safe to use from several threads and processes at once. Writers wait for each other.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def url(self) -> str:
        """The database URL, without any password."""
        return self._backend.url

    @property
    def kept(self) -> SqlKept:
        """What the processes of one service share: keys, sessions, jobs."""
        return SqlKept(self._backend)

    def exclusive(self, name: str, *, wait_s: float = 0.0) -> AbstractContextManager[bool]:
        """Hold a named lock among all processes of this store; False where another holds it."""
        return exclusive.exclusive(self._backend, name, wait_s=wait_s)

    def append(
        self, events: pl.DataFrame, *, received_us: int, repairs: Sequence[Repair] = ()
    ) -> IngestReport:
        """Store event rows that are not stored yet; durable before it returns."""
        return appending.append_events(
            self._backend, events, received_us=received_us, repairs=repairs
        )

    def put_users(
        self, rows: pl.DataFrame, *, received_us: int, repairs: Sequence[Repair] = ()
    ) -> IngestReport:
        """Append versions of users."""
        return versions.put(
            self._backend, versions.USERS, rows, received_us=received_us, repairs=repairs
        )

    def put_items(
        self, rows: pl.DataFrame, *, received_us: int, repairs: Sequence[Repair] = ()
    ) -> IngestReport:
        """Append versions of items."""
        return versions.put(
            self._backend, versions.ITEMS, rows, received_us=received_us, repairs=repairs
        )

    def bulk(self) -> AbstractContextManager[None]:
        """Make this thread's writes durable together, at the end of the block."""
        return self._backend.bulk()

    def histories(
        self,
        user_ids: Sequence[str],
        *,
        as_of_us: int | None = None,
        seq: int | None = None,
        limit: int | None = None,
    ) -> list[History]:
        """Return one history per id, in the order asked; ``limit`` keeps the newest."""
        return histories.read_histories(
            self._backend, user_ids, as_of_us=as_of_us, seq=seq, limit=limit
        )

    def profile(self, user_id: str) -> Profile:
        """Return a user's record and whole history, and where the store stood at that moment."""
        return profiles.read_profile(self._backend, user_id)

    def users(self, user_ids: Sequence[str], *, seq: int | None = None) -> list[User | None]:
        """Return the version of each user known at ``seq``."""
        return versions.read_users(self._backend, user_ids, seq=seq)

    def items(self, item_ids: Sequence[str], *, seq: int | None = None) -> list[Item | None]:
        """Return the version of each item known at ``seq``."""
        return versions.read_items(self._backend, item_ids, seq=seq)

    def catalogue(self, *, seq: int | None = None) -> pl.DataFrame:
        """Return every item in the version known at ``seq``."""
        return snapshots.items_known(self._backend, seq=seq)

    def items_since(self, seq: int) -> list[Item]:
        """Return the items that changed after ``seq``, each as it is now."""
        return versions.items_since(self._backend, seq)

    def newest_items(self, n: int) -> list[Item]:
        """Return the items behind the ``n`` last changes, newest first."""
        return versions.newest_items(self._backend, n)

    def snapshot(
        self,
        *,
        as_of_us: int | None = None,
        seq: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> Snapshot:
        """Return everything known at ``seq`` with event time before ``as_of_us``."""
        given: dict[str, Any] = {"as_of_us": as_of_us, "seq": seq, "columns": columns}
        return snapshots.take_snapshot(self._backend, **given)

    def changes(self, *, after_seq: int) -> Changes:
        """Return the events that came after ``after_seq``, and whose past changed."""
        return changes.changes_since(self._backend, after_seq)

    def events_of(self, user_ids: Sequence[str], *, seq: int) -> pl.DataFrame:
        """Return every event of these people as known at ``seq``."""
        return changes.events_of(self._backend, user_ids, seq=seq)

    def identify(
        self, anonymous_id: str, user_id: str, *, received_us: int, kind: AliasKind = "device"
    ) -> IdentityReport:
        """Link an alias to a user, once; raises ``IdentityRefused``."""
        return identity.identify(
            self._backend, anonymous_id, user_id, received_us=received_us, kind=kind
        )

    def aliases(self, user_id: str, *, seq: int | None = None) -> list[Alias]:
        """Return the aliases of a user known at ``seq``, oldest first."""
        with self._backend.read() as con:
            return identity.aliases_of(con, user_id, seq=seq)

    def first_name(self, person: str) -> str:
        """Return the name under which a person was first met; it outlives their sign-in."""
        with self._backend.read() as con:
            return identity.first_name(con, person)

    def person_of(self, anonymous_id: str, *, seq: int | None = None) -> str:
        """Return who a visitor is in histories: the linked user, else ``anon:<id>``."""
        with self._backend.read() as con:
            user_id = histories.linked_to(con, anonymous_id, seq=bound(seq))
        return ANONYMOUS_PREFIX + anonymous_id if user_id is None else user_id

    def identity_audit(self) -> list[dict[str, Any]]:
        """Return every refused link, oldest first."""
        with self._backend.read() as con:
            return identity.audit(con)

    def quarantine(self, rows: Sequence[QuarantinedRow], *, received_us: int) -> int:
        """Keep refused rows; return how many were not there yet."""
        with self._backend.write() as con:
            n = quarantine.keep(self._backend, con, rows, received_us=received_us)
            clock.take(con, 0)
        return n

    def quarantined(
        self, *, reason: str | None = None, limit: int | None = None
    ) -> list[QuarantinedRow]:
        """Return refused rows, oldest first."""
        with self._backend.read() as con:
            return quarantine.listed(con, reason=reason, limit=limit)

    def settle(self, repairs: Sequence[Repair], *, outcome: str, at_us: int) -> None:
        """Take refused rows out of quarantine without storing them; it is audited."""
        with self._backend.write() as con:
            repairing.settle(con, repairs, [outcome] * len(repairs), at_us=at_us)
            clock.take(con, 0)

    def repairs(self, *, limit: int | None = None) -> list[dict[str, Any]]:
        """Return who let which refused row out and what was changed, oldest first."""
        with self._backend.read() as con:
            return repairing.listed(con, limit=limit)

    def release(self, quarantine_ids: Sequence[int]) -> int:
        """Remove rows from quarantine after they were replayed; return how many."""
        with self._backend.write() as con:
            return quarantine.released(con, quarantine_ids)

    def erase(self, user_id: str, *, at_us: int) -> ErasureReport:
        """Remove a person with every alias; whatever comes of them later is refused."""
        return erasing.erase_person(self._backend, user_id, at_us=at_us)

    def expiring(self, cutoffs: Cutoffs) -> Expired:
        """Return how many rows are older than their cut-off; changes nothing."""
        return expiring.expiring(self._backend, cutoffs)

    def expire(self, cutoffs: Cutoffs, *, at_us: int) -> Expired:
        """Remove what is older than its cut-off; older events are refused from then on."""
        return expiring.expire(self._backend, cutoffs, at_us=at_us)

    def held(self, user_id: str) -> dict[str, Any]:
        """Return everything that is held about a person, as plain JSON."""
        return held_about(self._backend, user_id)

    def backup(self, path: Path, *, files: Mapping[str, Path] | None = None) -> dict[str, Any]:
        """Write one moment of the store, and ``files`` beside it, to one file."""
        from lifeloop.store.backup import write_backup

        return write_backup(self._backend, path, files=files or {})

    def restore(self, path: Path) -> dict[str, Any]:
        """Put the rows of a backup into this store, which must be empty; all or none."""
        from lifeloop.store.backup import read_backup

        return read_backup(self._backend, path)

    def dump(self) -> Generator[dict[str, Any]]:
        """Yield every row of one moment as plain JSON, in the order in which it was learned."""
        from lifeloop.store.dumping import dumped

        return dumped(self._backend)

    def check(self, *, now_us: int, quick: bool = False) -> list[Finding]:
        """Say whether the database is whole and agrees with itself; changes nothing."""
        from lifeloop.store.checks import examined

        return examined(self._backend, now_us=now_us, quick=quick)

    def lake(self, url: str, *, zone: str) -> "Lake":
        """Return the lake of this store at a folder or fsspec URL; ``zone`` says its days."""
        from lifeloop.store.lake import Lake  # and with it fsspec, which few stores need

        return Lake(self._backend, url, zone=zone)

    def log_decision(self, decision: Decision) -> None:
        """Log one slate; durable before it returns."""
        decisions.log(self._backend, decision)

    def decisions(self, *, from_seq: int = 0, to_seq: int | None = None) -> Iterator[Decision]:
        """Yield logged slates by the event sequence they saw, both bounds included."""
        return decisions.read(self._backend, from_seq=from_seq, to_seq=to_seq)

    def newest_decisions(self, n: int, *, to_seq: int | None = None) -> Iterator[Decision]:
        """Yield the n newest logged slates that saw at most ``to_seq``, newest first."""
        return decisions.newest(self._backend, n, to_seq=to_seq)

    def decided(self, request_ids: Sequence[str]) -> list[Decision | None]:
        """Return the slate logged under each request id, in the order asked."""
        return decisions.of(self._backend, request_ids)

    def publish(self, bundle: str, manifest: Mapping[str, Any], *, at_us: int) -> None:
        """Record a bundle and make it the active one."""
        registry.publish(self._backend, bundle, manifest, at_us=at_us)

    def activate(self, bundle: str, *, at_us: int) -> None:
        """Make a recorded bundle the active one."""
        registry.activate(self._backend, bundle, at_us=at_us)

    def active_bundle(self) -> str | None:
        """Return the active bundle's id."""
        with self._backend.read() as con:
            return registry.active(con)

    def bundles(self) -> list[dict[str, Any]]:
        """Return every recorded bundle, newest first: bundle, at_us, active, manifest."""
        with self._backend.read() as con:
            return registry.published(con)

    def activations(self) -> list[tuple[str, int]]:
        """Return the history of the active pointer, oldest first, as (bundle, at_us)."""
        with self._backend.read() as con:
            return registry.history(con)

    def head(self) -> Head:
        """Return the newest sequence number, the span of event time and the active bundle."""
        with self._backend.once() as fetch:
            return Head(*fetch(profiles.HEAD, {})[0])

    def last_seq(self) -> int:
        """Return the newest sequence number, 0 when empty."""
        with self._backend.read() as con:
            return clock.newest(con)

    def first_event_us(self) -> int | None:
        """Return the oldest event time, None when no event has one."""
        with self._backend.read() as con:
            return con.execute(sa.select(tables.clock.c.first_event_us)).scalar()

    def last_event_us(self) -> int | None:
        """Return the newest event time, None when no event has one."""
        with self._backend.read() as con:
            return con.execute(sa.select(tables.clock.c.last_event_us)).scalar()

    def counts(self) -> dict[str, int]:
        """Return how many events, users, items, links, decisions, quarantined rows are held."""
        held = {
            "events": sa.select(sa.func.count(tables.events.c.event_id)),
            "users": sa.select(sa.func.count(tables.users.c.user_id.distinct())),
            "items": sa.select(sa.func.count(tables.items.c.item_id.distinct())),
            "links": sa.select(sa.func.count()).select_from(tables.links),
            "decisions": sa.select(sa.func.count()).select_from(tables.decisions),
            "quarantined": sa.select(sa.func.count()).select_from(tables.quarantine),
        }
        with self._backend.read() as con:
            return {name: int(con.execute(query).scalar_one()) for name, query in held.items()}

    def event_types(self) -> dict[str, int]:
        """Return how many events of each type are held, most frequent first."""
        kind, n = tables.events.c.type, sa.func.count()
        query = sa.select(kind, n).group_by(kind).order_by(n.desc(), kind)
        with self._backend.read() as con:
            return {str(name): int(count) for name, count in con.execute(query)}

    def ids_with_prefix(self, prefix: str) -> int:
        """Return how many users have an id that begins so, in events or in records."""
        below = prefix + chr(0x10FFFF)
        named = sa.union(
            *(
                sa.select(t.c.user_id).where(t.c.user_id >= prefix, t.c.user_id < below)
                for t in (tables.events, tables.users)
            )
        ).subquery()
        with self._backend.read() as con:
            return int(con.execute(sa.select(sa.func.count()).select_from(named)).scalar_one())

    def close(self) -> None:
        """Release the connections."""
        self._backend.close()
