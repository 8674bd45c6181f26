"""Everything one process of the service holds open, and what its routes do with it."""

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio
import msgspec
from starlette.responses import Response

from lifeloop.contracts import Decision, ErasureReport, IngestReport, Recommendations
from lifeloop.errors import StoreError
from lifeloop.events.personal import person_id
from lifeloop.events.records import ANONYMOUS_PREFIX
from lifeloop.intake import record_many
from lifeloop.loop import Lifeloop
from lifeloop.serve import keys, logs
from lifeloop.serve.jobs import Jobs
from lifeloop.serve.ladder import Asked, Breaker, Ladder
from lifeloop.serve.metrics import Metrics
from lifeloop.serve.problems import Problem
from lifeloop.serve.rates import Buckets
from lifeloop.serve.records import USERS, Kind
from lifeloop.serve.settings import ServeSettings
from lifeloop.serve.spool import Spool

_SHOWN_KEPT = 5_000


class Service:
    """What routes are given."""

    def __init__(
        self, loop: Lifeloop, settings: ServeSettings, *, where: str | None = None
    ) -> None:
        self.loop = loop
        self.settings = settings
        self.metrics = Metrics()
        self.rates = Buckets(per_s=settings.requests_per_s, burst=settings.burst)
        per_s = settings.refusals_per_s
        self.refusals = Buckets(per_s=per_s, burst=max(1.0, 20 * per_s))
        self.spool = Spool(loop.home / "spool")
        self.jobs = Jobs(loop, where=where, heartbeat_s=settings.train_heartbeat_s)
        self.breaker = Breaker(settings.breaker_s)
        # Threads of one process share one interpreter: many slates at once would all be late, and
        # none of them first. So they come in turn; the second one works while the first waits for
        # the store.
        self.slates = anyio.CapacityLimiter(settings.slates)
        # so that batches that wait for their turn to write do not keep slates waiting
        self.writers = anyio.CapacityLimiter(settings.writers)
        self._ladder = Ladder(loop, log=self.log, breaker=self.breaker, kept=settings.cached_slates)
        loop.log = self.log
        self._shown: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        loop.live.removals.then(self._forget)
        self._keys: Mapping[str, keys.Key] | None = None
        self._keys_until = 0.0
        self._lock = threading.Lock()

    def now_us(self) -> int:
        """Return the present moment of the loop in microseconds UTC."""
        return self.loop.clock()

    def close(self) -> None:
        """Leave nothing half done behind."""
        self.jobs.close()
        self.spool.close()

    def json(
        self, content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Return plain data as a response."""
        return Response(
            msgspec.json.encode(content),
            status_code=status,
            media_type="application/json",
            headers=None if headers is None else dict(headers),
        )

    def plain(self, value: Any) -> dict[str, Any]:
        """Return a record of contracts as plain data."""
        told: dict[str, Any] = msgspec.to_builtins(value)
        return told

    # ---------------------------------------------------------------- keys

    def keys(self) -> Mapping[str, keys.Key]:
        """Return every key by id, at most ``key_cache_s`` old; older ones while the store is down.

        Raises
        ------
        StoreError
            The store is down and no key was ever read.
        """
        held = self._keys
        if held is not None and time.monotonic() < self._keys_until:
            return held
        with self._lock:
            if self._keys is not None and time.monotonic() < self._keys_until:
                return self._keys
            self._keys_until = time.monotonic() + self.settings.key_cache_s
            try:
                self._keys = {key.id: key for key in keys.listed(self.loop.store.kept)}
            except StoreError:
                if self._keys is None:
                    self._keys_until = 0.0
                    raise
            return self._keys

    # ---------------------------------------------------------------- events

    def record(self, rows: Sequence[Any]) -> IngestReport:
        """Store events, durably, or raise: nothing is accepted and lost."""
        report = record_many(
            self.loop.store,
            rows,
            scenario=self.loop.scenario,
            received_us=self.now_us(),
            key=self.loop.id_key(),
            types=self.loop.types,
        )
        for outcome in ("accepted", "duplicate", "rejected"):
            self.metrics.events(outcome, getattr(report, outcome))
        return report

    def person(self, user_id: str) -> str:
        """Return the id under which somebody is stored: an address as its hash where so set."""
        key = self.loop.id_key()
        if user_id.startswith(ANONYMOUS_PREFIX):
            return ANONYMOUS_PREFIX + person_id(user_id.removeprefix(ANONYMOUS_PREFIX), key=key)
        return person_id(user_id, key=key)

    def erase(self, user_id: str) -> ErasureReport:
        """Erase a person from the store and from what this process remembers."""
        report = self.loop.erase(user_id)
        self.follow()
        return report

    def follow(self) -> None:
        """Learn what any process has changed, if the store can be asked.

        Whoever was erased is forgotten, and what items have become is known before the next
        slate asks: that slate may find the store down, and must not show what was taken away.
        """
        if self.breaker.open:
            return
        live, store = self.loop.live, self.loop.store
        try:
            head = store.head()
            live.removals.obey(head.removal)
            if live.last is not None and head.bundle is not None:
                live.current(store, head)
        except StoreError:
            self.breaker.trip()

    def changed(self, kind: Kind, ids: Collection[str]) -> None:
        """Take note of records that were changed here, before that is answered."""
        if kind is USERS:  # they may refuse slates made of their history, also those that are kept
            self._ladder.forget(ids)
        else:
            self.follow()

    def _forget(self) -> None:
        """Drop what is remembered of people: whom of them the store does not say by name."""
        self._ladder.forget()
        with self._lock:
            self._shown.clear()

    # ---------------------------------------------------------------- decisions

    def log(self, decision: Decision) -> bool:
        """Keep a decision: in the store, else in the spool; return whether it is kept at all."""
        kept = False
        if not self.breaker.open:
            try:
                self.loop.store.log_decision(decision)
                kept = True
            except StoreError as error:
                self.breaker.trip()
                logs.failure(error)
        if not kept:
            kept = self.spool.add(decision)
            self.metrics.spooled(self.spool.waiting)
        if kept:
            self._remember(decision)
        return kept

    def replay(self) -> None:
        """Hand what waits in the spool to the store, if it answers again; follow what changed."""
        self.follow()
        if self.breaker.open:
            return
        try:
            taken = self.spool.replay(self.loop.store.log_decision)
        except StoreError:
            self.breaker.trip()
            return
        if taken:
            logs.note("replayed", decisions=taken)
        self.metrics.spooled(self.spool.waiting)

    # ---------------------------------------------------------------- slates

    def recommend(self, asked: Asked) -> Recommendations:
        """Return a slate from the highest rung that holds."""
        given = self._ladder.recommend(asked)
        self.metrics.slate(given.level)
        return given

    def told(self, given: Recommendations, *, why: bool) -> dict[str, Any]:
        """Return a slate as JSON; without reasons where nobody asked for them."""
        body = self.plain(given)
        body["recommendations"] = body.pop("items")
        if not why:
            for row in body["recommendations"]:
                del row["reason"]
        return body

    def similar(self, item_id: str, k: int) -> list[dict[str, Any]]:
        """Return items like this one that may be shown now."""
        return [msgspec.to_builtins(row) for row in self.loop.similar(item_id, k)]

    def ranked(self, asked: Asked) -> tuple[Recommendations, list[str]]:
        """Return a slate of a caller's candidates, and those that its model does not know."""
        before = self.loop.live.last
        given = self.recommend(asked)
        for held in (self.loop.live.last, before):  # another may have come meanwhile
            if held is not None and held.model.bundle == given.bundle:
                ix = held.model.catalogue.ix
                return given, [i for i in asked.wishes.only or () if i not in ix]
        shown = {row.item_id for row in given.items}
        return given, [i for i in asked.wishes.only or () if i not in shown]

    def shown(self, request_ids: Sequence[str], user_id: str) -> frozenset[str]:
        """Return the items of earlier pages.

        Raises
        ------
        Problem
            409 where a page is not this person's, or is not known (any more).
        """
        missing = [i for i in request_ids if i not in self._shown]
        slates = {i: self._shown[i] for i in request_ids if i in self._shown}
        if missing:
            for decision in self.loop.store.decided(missing):
                if decision is not None:
                    slates[decision.request_id] = (decision.user_id, *decision.slate_ids)
        if any(slates.get(i, ("",))[0] != user_id for i in request_ids):
            raise Problem(
                409,
                "this cursor is not known for this person",
                hint="ask for the first page again, without a cursor",
                error="unknown-cursor",
            )
        return frozenset(item for slate in slates.values() for item in slate[1:])

    def without(self, asked: Asked, shown: frozenset[str]) -> Asked:
        """Return the same request without the items that were shown."""
        if not shown:
            return asked
        exclude = asked.wishes.exclude | shown
        return replace(asked, wishes=replace(asked.wishes, exclude=exclude))

    def _remember(self, decision: Decision) -> None:
        with self._lock:
            self._shown[decision.request_id] = (decision.user_id, *decision.slate_ids)
            while len(self._shown) > _SHOWN_KEPT:
                self._shown.popitem(last=False)
