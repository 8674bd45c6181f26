"""Histories as rows of equal length: what a sequence network is trained on.

Letters used in shapes: m events, B rows, L places of a row.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lifeloop.contracts import Bool, Double, Int, Long, TrainData
from lifeloop.models.neural.gaps import seconds

STEP = 20
"""Rows are as long as a multiple of this: torch keeps workspace for every shape it ever saw."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """B rows, filled from the right; place i of a row is asked for ``target`` there."""

    item: Int  # [B, L] place of the item among those learned, -1 pads
    event_s: Double  # [B, L] NaN where unknown
    asked_s: Double  # [B, L] when place i is asked
    target: Int  # [B, L] -1 pads

    def part(self, rows: slice) -> "Rows":
        """Return some of the rows."""
        return Rows(self.item[rows], self.event_s[rows], self.asked_s[rows], self.target[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """Events of the items that are learned, sorted by (person, time)."""

    user: Int  # [m]
    item: Int  # [m]
    time_s: Double  # [m]
    length: int
    at_request: bool

    @classmethod
    def of(cls, data: TrainData, place: Int, *, length: int, at_request: bool) -> "Sequences":
        """Return the events of the items that have a place (``place`` [I], -1 none)."""
        inside = place[data.item_ix] >= 0
        return cls(
            user=data.user_ix[inside],
            item=place[data.item_ix[inside]].astype(np.int32),
            time_s=seconds(data.t_us[inside]),
            length=length,
            at_request=at_request,
        )

    def without_last(self, n: int, rng: np.random.Generator) -> "tuple[Sequences, Rows]":
        """Return the events without the last one of at most n people, and those as questions.

        Only people with three events or more are asked, at most one in five of all people.
        """
        end = np.flatnonzero(np.diff(self.user, append=-1) != 0)  # [U] last events
        size = np.diff(end, prepend=-1)
        asked = end[size >= 3]
        n = min(n, len(end) // 5, len(asked))
        asked = np.sort(rng.choice(asked, size=n, replace=False))
        kept = np.ones(len(self.user), dtype=np.bool_)
        kept[asked] = False
        fewer = Sequences(
            self.user[kept], self.item[kept], self.time_s[kept], self.length, self.at_request
        )
        return fewer, self._rows(asked, np.ones(len(asked), dtype=np.int64))

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[Rows]:
        """Yield every pair (events before, next event) once, in rows in random order.

        A long history is cut into rows of ``length`` at places that differ each time.
        """
        lasts, lengths = [], []
        end = np.flatnonzero(np.diff(self.user, append=-1) != 0)
        start = np.concatenate([[0], end[:-1] + 1]) if len(end) else end
        for lo, hi in zip(start.tolist(), end.tolist(), strict=True):
            if hi == lo:
                continue
            last = hi
            first_cut = hi - int(rng.integers(self.length)) if hi - lo > self.length else lo
            while last > lo:
                floor = first_cut if first_cut < last else last - self.length
                floor = max(lo, floor)
                lasts.append(last)
                lengths.append(last - floor)
                last = floor
        last_event = np.array(lasts, dtype=np.int64)
        asked = np.array(lengths, dtype=np.int64)
        held = np.minimum(self.length, last_event - start[self._person(last_event)])
        order = rng.permutation(len(lasts))
        order = order[np.argsort(held[order], kind="stable")]  # rows of one length go together
        cuts = [0]
        while cuts[-1] < len(order):
            longest = int(held[order[min(len(order), cuts[-1] + size) - 1]])
            cuts.append(min(len(order), cuts[-1] + size * max(1, min(4, self.length // longest))))
        for b in rng.permutation(len(cuts) - 1):
            rows = order[cuts[b] : cuts[b + 1]]
            yield self._rows(last_event[rows], asked[rows])

    def _person(self, event: Long) -> Long:
        """Return the place, among the people there are, of who made each event."""
        new = np.diff(self.user, prepend=self.user[:1]) != 0
        return np.cumsum(new)[event]

    def _rows(self, last: Long, asked: Long) -> Rows:
        """Return rows whose last target is ``last`` and that ask for ``asked`` events each."""
        back = np.arange(self.length, 0, -1)  # [L]
        at = last[:, None] - back  # [B, L] the event known last at each place
        safe = np.maximum(at, 0)
        inside: Bool = (at >= 0) & (self.user[safe] == self.user[last][:, None])
        used = np.flatnonzero(inside.any(axis=0))
        first = int(used[0]) if used.size else self.length - 1
        first = max(0, self.length - -(-(self.length - first) // STEP) * STEP)
        at, safe, inside, back = at[:, first:], safe[:, first:], inside[:, first:], back[first:]
        learned = inside & (back <= asked[:, None])
        event_s = np.where(inside, self.time_s[safe], np.nan)
        following = np.minimum(safe + 1, len(self.user) - 1)
        asked_s = self.time_s[following] if self.at_request else event_s
        return Rows(
            item=np.where(inside, self.item[safe], -1).astype(np.int32),
            event_s=event_s,
            asked_s=np.where(inside, asked_s, np.nan),
            target=np.where(learned, self.item[following], -1).astype(np.int32),
        )
