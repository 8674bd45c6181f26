"""The inner validation slice: what a model may learn its settings from, split by time.

It is cut from the training data only; the data of an evaluation never comes near it.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lifeloop.contracts import UNTIMED, Bool, Int, Long, Queries, TrainData
from lifeloop.models.data import DAY_US, histories, slices, taken

Horizon = Literal["last", "time", "basket"]


@dataclass(frozen=True, slots=True, eq=False)
class Holdout:
    """Earlier interactions to learn from, and what the same people did next. T: all targets."""

    data: TrainData
    queries: Queries  # B histories as known at the cut
    target_indptr: Long  # [B+1]
    targets: Int  # [T] item indices, distinct within a query
    user_ix: Int  # [B] whose query it is
    horizon: Horizon = "time"
    later: TrainData | None = None  # the events held out, of everybody
    before_us: Long | None = None  # [B] what was written at or after it is not known

    def targets_of(self, b: int) -> Int:
        """Return what query b did next."""
        return self.targets[self.target_indptr[b] : self.target_indptr[b + 1]]

    def with_written(self, *, most: int) -> "Holdout":
        """Return the same, told what each person had written before what is held out of them.

        The review of a thing held out is written at that moment or later, so it is never read.
        At most ``most`` texts are.
        """
        written = self.data.written
        if written is None or self.before_us is None:
            return self
        told = written.at(self.user_ix, self.queries.as_of_us, self.before_us, most=most)
        return replace(self, queries=replace(self.queries, written=told))

    def thinned(self, n: int) -> "Holdout":
        """Return the same with at most n of the queries, evenly spread over them."""
        if len(self.queries) <= n:
            return self
        rows = np.linspace(0, len(self.queries) - 1, n).astype(np.int64)
        starts, sizes = self.target_indptr[rows], np.diff(self.target_indptr)[rows]
        return replace(
            self,
            queries=taken(self.queries, rows),
            user_ix=self.user_ix[rows],
            before_us=None if self.before_us is None else self.before_us[rows],
            target_indptr=np.concatenate([[0], np.cumsum(sizes)]),
            targets=self.targets[slices(starts, sizes)],
        )


def hold_out(
    data: TrainData,
    *,
    horizon: Horizon,
    share: float,
    repeats: bool,
    max_queries: int,
    last: int = 1,
    rng: np.random.Generator,
) -> Holdout:
    """Return a validation slice in time.

    Parameters
    ----------
    horizon : {"last", "time", "basket"}
        ``last``: each person's last event. ``time``: the last ``share`` of all timed events, for
        people with at least one event before; untimed events stay in training. ``basket``: all
        events of each person's last moment, asked at that moment.
    repeats : bool
        Whether an item of the history may be a target.
    max_queries : int
        Queries at most, drawn with ``rng``.
    last : int
        With ``horizon="last"``: how many of each person's last events are held out. Each is the
        target of a query of its own, asked with everything the person did before it.
    """
    if horizon == "last" and last > 1:
        return _steps(data, last, repeats=repeats, max_queries=max_queries, rng=rng)
    if horizon == "basket":
        later = _last_moment(data)
    else:
        later = _last_events(data) if horizon == "last" else _last_share(data, share)
    cut_us = data.as_of_us
    if horizon == "time" and later.any():
        cut_us = int(data.t_us[later].min())
    before = only(data, ~later, as_of_us=cut_us)
    users, target_users, targets = _targets(data, later, repeats=repeats)
    if len(users) > max_queries:
        users = np.sort(rng.choice(users, size=max_queries, replace=False))
        kept = np.isin(target_users, users)
        target_users, targets = target_users[kept], targets[kept]
    asked = histories(before, users.astype(np.int32), as_of_us=cut_us)
    if horizon == "basket":
        asked = _moved(asked, _last_times(data)[users])
        if data.predicted is not None:
            held = data.predicted.at(users.astype(np.int32), asked.as_of_us)
            asked = replace(asked, predicted=held)
    return Holdout(
        data=before,
        queries=asked,
        target_indptr=np.searchsorted(target_users, np.concatenate([users, [data.n_users]])).astype(
            np.int64
        ),
        targets=targets.astype(np.int32),
        user_ix=users.astype(np.int32),
        horizon=horizon,
        later=only(data, later, as_of_us=data.as_of_us),
        before_us=np.minimum(asked.as_of_us + 1, _first_times(data, later)[users]),
    )


def _steps(
    data: TrainData, last: int, *, repeats: bool, max_queries: int, rng: np.random.Generator
) -> Holdout:
    """Hold out up to ``last`` events of each person, one query per event.

    At least one event of evidence stays known, and without ``repeats`` an event counts only
    where its item is new to the person.
    """
    n = len(data.user_ix)
    first = np.searchsorted(data.user_ix, data.user_ix)  # [n]
    end = np.searchsorted(data.user_ix, data.user_ix, side="right")
    place = np.arange(n)
    later = (end - place <= last) & (place > first)
    asked = np.flatnonzero(later)
    if not repeats:
        pair = data.user_ix.astype(np.int64) * max(1, data.n_items) + data.item_ix
        _, new = np.unique(pair, return_index=True)
        asked = asked[np.isin(asked, new)]
    if len(asked) > max_queries:
        asked = np.sort(rng.choice(asked, size=max_queries, replace=False))
    starts, sizes = first[asked], asked - first[asked]
    rows = slices(starts, sizes)
    # each query is asked right after the last event that it knows, as in leave-one-out
    moment = np.maximum(data.t_us[asked - 1], 0)
    owner = np.repeat(np.arange(len(asked)), sizes)
    known = data.t_us[rows] != UNTIMED
    age = np.where(known, (moment[owner] - data.t_us[rows]) / DAY_US, np.nan)
    return Holdout(
        data=only(data, ~later, as_of_us=data.as_of_us),
        queries=Queries(
            indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            item_ix=data.item_ix[rows],
            weight=data.weight[rows],
            age_days=age.astype(np.float32),
            rating=data.rating[rows],
            as_of_us=moment.astype(np.int64),
            predicted=None
            if data.predicted is None
            else data.predicted.at(data.user_ix[asked], moment),
        ),
        target_indptr=np.arange(len(asked) + 1, dtype=np.int64),
        targets=data.item_ix[asked],
        user_ix=data.user_ix[asked],
        horizon="last",
        later=only(data, later, as_of_us=data.as_of_us),
        before_us=np.minimum(moment + 1, data.t_us[asked]),
    )


def only(data: TrainData, kept: Bool, *, as_of_us: int) -> TrainData:
    """Return the interactions where ``kept`` [n]; users and items keep their indices."""
    return replace(
        data,
        user_ix=data.user_ix[kept],
        item_ix=data.item_ix[kept],
        t_us=data.t_us[kept],
        weight=data.weight[kept],
        rating=data.rating[kept],
        as_of_us=as_of_us,
        situation=None
        if data.situation is None
        else replace(data.situation, codes=data.situation.codes[kept]),
    )


def _last_events(data: TrainData) -> Bool:
    later = np.zeros(len(data.user_ix), dtype=np.bool_)
    if len(later):
        later[:-1] = data.user_ix[:-1] != data.user_ix[1:]
        later[-1] = True
    return later


def _last_moment(data: TrainData) -> Bool:
    """Return the events [n] of each person's last moment; of one only where it is untimed."""
    newest = _last_times(data)[data.user_ix] if len(data.user_ix) else data.t_us
    together = (data.t_us == newest) & (data.t_us != UNTIMED)
    return np.asarray(together | _last_events(data))


def _last_times(data: TrainData) -> Long:
    newest = np.full(data.n_users, UNTIMED, dtype=np.int64)
    np.maximum.at(newest, data.user_ix, data.t_us)
    return newest


def _first_times(data: TrainData, held: Bool) -> Long:
    """Return when the first of each person's events that are held out was [U]."""
    first = np.full(data.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first, data.user_ix[held], data.t_us[held])
    return first


def _moved(asked: Queries, moments: Long) -> Queries:
    """Return the same queries at each one's own moment; an unknown moment stays as it is."""
    at = np.where(moments == UNTIMED, asked.as_of_us, moments)
    later = np.repeat((at - asked.as_of_us) / DAY_US, np.diff(asked.indptr))
    age = np.maximum(asked.age_days + later, 0.0).astype(np.float32)
    return replace(asked, age_days=age, as_of_us=at)


def _last_share(data: TrainData, share: float) -> Bool:
    timed = data.t_us != UNTIMED
    if not timed.any():
        return np.zeros(len(timed), dtype=np.bool_)
    cut = np.quantile(data.t_us[timed], 1.0 - share, method="higher")
    return np.asarray(timed & (data.t_us >= cut))


def _targets(data: TrainData, later: Bool, *, repeats: bool) -> tuple[Long, Long, Long]:
    """Return users with a history and a target, and their distinct targets, sorted by user."""
    width = max(1, data.n_items)
    pair = data.user_ix.astype(np.int64) * width + data.item_ix
    known = np.unique(pair[~later])
    wanted = np.unique(pair[later])
    if not repeats:
        wanted = np.setdiff1d(wanted, known, assume_unique=True)
    wanted = wanted[np.isin(wanted // width, np.unique(known // width))]
    return np.unique(wanted // width), wanted // width, wanted % width
