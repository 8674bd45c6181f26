"""The ladder down: the full answer, the last one that was given, popularity; and the level said.

A slate from below the first rung was not drawn by the policy: it has no propensities.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lifeloop import answer, request
from lifeloop.contracts import Decision, History, Recommendations
from lifeloop.errors import InputError, StoreError
from lifeloop.live import Current
from lifeloop.loop import Lifeloop
from lifeloop.policy import Combined, say_shortfall
from lifeloop.serve import degraded, logs
from lifeloop.serve.degraded import popular
from lifeloop.serve.sessions import history_of
from lifeloop.wishes import ANYTHING, Wishes, narrowed

_STALE_S = 3600.0
"""A slate older than this is not shown again."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a slate as it came."""

    user_id: str
    k: int = 10
    context: Mapping[str, Any] = field(default_factory=dict)
    wishes: Wishes = ANYTHING
    session: History | None = None


class Breaker:
    """Leaves a store that failed alone for a moment, so that requests do not queue for it."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._until = 0.0

    @property
    def open(self) -> bool:
        """Whether the store is not to be asked now."""
        return time.monotonic() < self._until

    def trip(self) -> None:
        """Note a failure."""
        self._until = time.monotonic() + self._pause_s


class Ladder:
    """Answers every request for a slate from the highest rung that holds."""

    def __init__(
        self,
        loop: Lifeloop,
        *,
        log: Callable[[Decision], bool],
        breaker: Breaker,
        kept: int,
    ) -> None:
        self._loop = loop
        self._log = log
        self._breaker = breaker
        self._kept = kept
        self._last: OrderedDict[str, tuple[float, Recommendations]] = OrderedDict()
        self._lock = threading.Lock()

    def recommend(self, asked: Asked) -> Recommendations:
        """Return a slate and the level it comes from.

        Raises
        ------
        InputError
            A malformed request: no rung can answer that.
        """
        request.check(asked.user_id, asked.k, asked.context)
        if not self._breaker.open:
            removal = self._loop.live.removals.seen
            try:
                given = self._asked(asked)
                if given.fallback == "no_model":
                    return self._untrained(asked, given)
                if removal in (None, self._loop.live.removals.seen):
                    self._remember(asked, given)
                return given
            except InputError:
                raise
            except StoreError as error:
                self._breaker.trip()
                logs.failure(error)
            except Exception as error:  # whatever a model does, there is something to show
                logs.failure(error)
                plain = self._without_ranker(asked)
                if plain is not None:
                    return plain
        return self._below(asked)

    def _asked(self, asked: Asked) -> Recommendations:
        return self._loop.recommend(
            asked.user_id, asked.k, asked.context, wishes=asked.wishes, session=asked.session
        )

    def _without_ranker(self, asked: Asked) -> Recommendations | None:
        """Return what the blend alone says, None where there was no ranker or it fails as well."""
        current = self._loop.live.last
        if current is None or current.model.ordered(trees=False) is current.model:
            return None
        try:
            return self._asked(replace(asked, wishes=replace(asked.wishes, ranked=False)))
        except Exception as error:
            logs.failure(error)
            return None

    def _remember(self, asked: Asked, given: Recommendations) -> None:
        if asked.wishes != ANYTHING or asked.session is not None or not given.items:
            return
        with self._lock:
            self._last.pop(asked.user_id, None)
            self._last[asked.user_id] = (time.monotonic(), given)
            while len(self._last) > self._kept:
                self._last.popitem(last=False)

    def _below(self, asked: Asked) -> Recommendations:
        current = self._loop.live.last
        asking = self._asking(asked)
        if current is None:
            why = "the store does not answer and no model is open"
            return answer.untrained(asking, stage="unknown", why=why)
        may = self._allowed(current, asked, asking.t_us)
        held = None if asked.session is not None else self._lately(asked.user_id)
        ix = current.model.catalogue.ix
        rows = [r for r in held or () if r.item_id in ix and may.allowed[ix[r.item_id]]]
        level = "cached" if rows else "popularity"
        rows = rows[: asked.k] if rows else popular(current, may, asked.k, as_of_us=asking.t_us)
        decision = degraded.decision_of(asking, rows, bundle=current.model.bundle, level=level)
        short = say_shortfall(may, asked=asked.k, got=len(rows))
        return degraded.answered(decision, rows, short=short, logged=self._log(decision))

    def _untrained(self, asked: Asked, given: Recommendations) -> Recommendations:
        """Fill the empty answer of a project without a model with what is newest."""
        asking = self._asking(asked)
        store = self._loop.store
        rows = degraded.newest(store, asked.wishes, asked.k, as_of_us=asking.t_us)
        if not rows:
            return given
        decision = degraded.decision_of(asking, rows, bundle=None, level="newest")
        logged = self._log(decision)
        answered = degraded.answered(decision, rows, short=given.shortfall, logged=logged)
        return replace(answered, stage=given.stage, fallback=given.fallback)

    def _asking(self, asked: Asked) -> request.Request:
        given = {"t_us": self._loop.clock(), "seq": 0, "seed": self._loop.scenario.models.seed}
        return request.Request.of(asked.user_id, asked.context, **given)

    def forget(self, user_ids: Collection[str] | None = None) -> None:
        """Drop the last slates of these people, or of everybody."""
        with self._lock:
            if user_ids is None:
                self._last.clear()
            for user_id in user_ids or ():
                self._last.pop(user_id, None)

    def _lately(self, user_id: str) -> Recommendations | None:
        at, given = self._last.get(user_id, (0.0, None))
        return given if time.monotonic() - at < _STALE_S else None

    def _allowed(self, current: Current, asked: Asked, as_of_us: int) -> Combined:
        history = asked.session or history_of(asked.user_id, [])
        scenario, catalogue = self._loop.scenario, current.model.catalogue
        may = request.eligible(catalogue, history, scenario=scenario, as_of_us=as_of_us)
        try:
            return narrowed(may, asked.wishes, current, self._loop.facts)
        except StoreError:  # what items are cannot be read now: better nothing than the wrong kind
            nothing = np.zeros(catalogue.n_items, np.bool_)
            return Combined(nothing, {"that no filter can be applied to now": len(nothing)})
