"""The path of each user through the stages, from user-days (spec/lifecycle.md section 2).

Between two days on which something happens only silence grows, so a user's stage changes on
at most four known days: when "resurrected" ends, when the silence puts at risk, costs loyalty,
or is churn. Cutting each stretch there gives the whole path without walking the calendar.
"""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Double, Int, Long
from lifeloop.lifecycle.daytable import DayTable
from lifeloop.lifecycle.definitions import StageDefinitions

NEVER = np.int64(1) << 40
"""A day number after everything."""

NONE, AT_RISK, RESURRECTED, CHURNED = range(4)
"""Overlay codes, in precedence order."""

BATCH_ROWS = 1 << 17
"""User-days that are worked on at once."""

MIN_GAPS = 5
"""From this many gaps on, a user's own rhythm decides when silence is a risk."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known after each user-day. All [n]; a day number of -NEVER means never yet."""

    last_active: Long
    previous_active: Long
    first_active: Long
    n_gaps: Long
    threshold: Long
    joined: Bool
    keys: Long
    orders: Long
    at_risk_from: Long
    churned_from: Long
    resurrected_on: Long
    value_high: Bool
    p_low: Bool
    p_alive: Double


@dataclass(frozen=True, slots=True)
class Path:
    """Stretches of constant stage: user-day ``row``, first day ``begin``. All [m], in order."""

    row: Long
    user: Long
    begin: Long
    product: Int
    overlay: Int


def walked(
    table: DayTable, definitions: StageDefinitions, *, last_day: int
) -> tuple[Facts, Path, Long]:
    """Return the path of many users up to ``last_day`` inclusive, and what is known along it.

    Parameters
    ----------
    table : DayTable
        Whole users [U]; days [n] up to ``last_day``.
    definitions : StageDefinitions
        The rules.
    last_day : int
        Day number on which the path ends, below 2^31 - 1.

    Returns
    -------
    Facts, Path, array [U]
        The facts after those r of the n user-days on which the path turns or a user's days end;
        the path, whose ``row`` points into them, as does the last, each user's newest day.
    """
    known: dict[str, NDArray[Any]] = {}
    turns: dict[str, list[NDArray[Any]]] = {field.name: [] for field in fields(Path)}
    last: list[Long] = []
    r = 0
    for first, stop in _batches(table):
        part = table.part(first, stop)
        f, p = path(part, definitions, last_day=last_day)
        ends = part.starts[1:] - 1
        read = np.zeros(len(part), dtype=bool)
        read[p.row] = True
        read[ends] = True
        rows = np.flatnonzero(read)
        place = np.cumsum(read) - 1 + r  # [days of the batch]
        for field in fields(Facts):
            values = getattr(f, field.name)
            # as long as it can become; of what is not written no memory is taken
            known.setdefault(field.name, np.empty(len(table), dtype=values.dtype))
            known[field.name][r : r + len(rows)] = values[rows]
        turns["row"].append(place[p.row])
        turns["user"].append(p.user + first)
        for name in ("begin", "product", "overlay"):
            turns[name].append(getattr(p, name))
        last.append(place[ends])
        r += len(rows)
    if not last:
        f, p = path(table, definitions, last_day=last_day)
        return f, p, table.starts[1:] - 1
    facts = Facts(**{name: values[:r] for name, values in known.items()})
    whole = Path(**{name: np.concatenate(parts) for name, parts in turns.items()})
    return facts, whole, np.concatenate(last)


def _batches(table: DayTable) -> Iterator[tuple[int, int]]:
    # Whole users, from the first up to the last: so many that the columns of their days stay in
    # the processor's cache.
    cuts = np.searchsorted(table.starts, np.arange(0, len(table), BATCH_ROWS))
    return pairwise(np.unique(np.append(cuts, len(table.starts) - 1)).tolist())


def path(table: DayTable, definitions: StageDefinitions, *, last_day: int) -> tuple[Facts, Path]:
    """Return the facts after each of n user-days and the path; for few users, see ``walked``."""
    f = facts(table, definitions)
    d = definitions
    follows = np.append(table.day[1:], last_day + 1)  # [n]
    follows[table.starts[1:] - 1] = last_day + 1
    resurrected_until = f.resurrected_on + d.resurrected_days
    loyal_until = f.last_active + d.active_within_days + 1
    cuts = _cuts(
        table.day, follows, (resurrected_until, f.at_risk_from, loyal_until, f.churned_from)
    )  # [n, 5]
    until = np.concatenate([cuts[:, 1:], follows[:, None].astype(np.int32)], axis=1)
    keep = cuts < until  # [n, 5]
    row = np.repeat(np.arange(len(table)), keep.sum(axis=1))  # [m]
    begin = cuts[keep].astype(np.int64)  # [m]
    product, overlay = _stage_at(begin, row, f, definitions)
    user = table.user[row]
    shown_before = (user[1:] == user[:-1]) & _same(product, overlay)
    new = np.append(True, ~shown_before)[: len(row)]
    return f, Path(row[new], user[new], begin[new], product[new], overlay[new])


def _cuts(day: Long, follows: Long, changes: tuple[Long, Long, Long, Long]) -> NDArray[np.int32]:
    # Each day, then the four changes moved into [day, follows], in order: a network of five
    # comparisons of whole columns is several times faster than sorting each row. [n, 5]
    cut = [np.clip(change, day, follows).astype(np.int32) for change in changes]
    for i, j in ((0, 1), (2, 3), (0, 2), (1, 3), (1, 2)):
        cut[i], cut[j] = np.minimum(cut[i], cut[j]), np.maximum(cut[i], cut[j])
    return np.stack([day.astype(np.int32), *cut], axis=1)


def facts(table: DayTable, definitions: StageDefinitions) -> Facts:
    """Return what is known of each user after each of their days."""
    d = definitions
    n = len(table)
    ix = np.arange(n)
    start = table.starts[:-1][table.user]  # [n]

    def latest(mask: Bool) -> Long:
        """Return the newest row of the same user where mask holds, else -1. [n]."""
        newest = np.maximum.accumulate(np.where(mask, ix, -1)) if n else ix
        return np.where(newest >= start, newest, -1)

    def running(amount: Long | Bool) -> Long:
        return np.asarray(_running(amount, start), dtype=np.int64)

    def day_at(rows: Long) -> Long:
        return np.where(rows >= 0, table.day[rows], -NEVER) if n else rows

    last = latest(table.active)
    shifted = np.append(-1, last[:-1])[:n]
    before = np.where(ix > start, shifted, -1)  # newest active row before this one
    previous = np.where(last >= 0, before[last], -1) if n else last
    gap = np.where(table.active & (before >= 0), table.day - day_at(before), 0)  # [n]
    n_gaps = running(gap > 0)
    threshold = _thresholds(gap, n_gaps, start, d)

    last_active = day_at(last)
    silent_from = last_active + d.churned_gap_days
    # A contract that ended on or after the last active day churns from the day it ended.
    end_row = latest(table.ended)
    end_day = day_at(end_row)
    ended = (end_row >= 0) & (end_day >= last_active)
    churned_from = np.where(ended, np.minimum(end_day, silent_from), silent_from)
    churned_from = np.where(last >= 0, churned_from, np.where(ended, end_day, NEVER))
    came_back = table.active & (before >= 0)
    if n:
        came_back &= churned_from[np.where(ix > start, ix - 1, ix)] < table.day
    resurrected_on = day_at(latest(came_back))
    first = (
        np.minimum.reduceat(np.where(table.active, table.day, NEVER), table.starts[:-1])[table.user]
        if n
        else last
    )
    return Facts(
        last_active=last_active,
        previous_active=day_at(previous),
        first_active=first,
        n_gaps=n_gaps,
        threshold=threshold,
        joined=running(table.joined) > 0,
        keys=running(table.keys.astype(np.int64)),
        orders=running(table.d_orders.astype(np.int64)),
        at_risk_from=np.where(last >= 0, last_active + threshold + 1, NEVER),
        churned_from=churned_from,
        resurrected_on=resurrected_on,
        value_high=table.value_high,
        p_low=table.p_low & (last >= 0),
        p_alive=table.p_alive,
    )


def _thresholds(gap: Long, n_gaps: Long, start: Long, d: StageDefinitions) -> Long:
    # The k-th smallest of the gaps so far, k = ceil(0.9 n). Beyond churn the exact length is of
    # no use; a row without a gap counts as such a long one, which never is among the first k.
    threshold = np.full(len(gap), d.at_risk_gap_days, dtype=np.int64)
    asked = np.flatnonzero(n_gaps >= MIN_GAPS)  # [q]
    if not len(asked):
        return threshold
    if not start.any():  # one user, as at a request
        threshold[asked] = _thresholds_of_one(gap, d.churned_gap_days)
        return threshold
    capped = np.where(gap > 0, np.minimum(gap, d.churned_gap_days), d.churned_gap_days)
    k = (9 * n_gaps[asked] + 9) // 10 - 1
    threshold[asked] = _kth_smallest(capped, start[asked], asked + 1, k)
    return threshold


def _thresholds_of_one(gap: Long, longest: int) -> list[int]:
    # The same of the days of one user that have enough gaps: ten times faster than whole columns.
    found, so_far = [], list[int]()
    for days in gap.tolist():
        if days > 0:
            insort(so_far, min(days, longest))
        if len(so_far) >= MIN_GAPS:
            found.append(so_far[(9 * len(so_far) + 9) // 10 - 1])
    return found


def _kth_smallest(values: Long, low: Long, high: Long, k: Long) -> Long:
    """Return for each query the k-th smallest (from 0) of ``values[low:high]``. [n], [q] -> [q].

    A wavelet matrix: bit by bit from the highest, the values with a 0 go before those with a 1,
    each in their order, so that a range stays a range on either side.

    References
    ----------
    Claude and Navarro 2012, The wavelet matrix, SPIRE, section 3.
    """
    found = np.zeros(len(low), dtype=np.int64)
    n_bits = int(values.max()).bit_length() if len(values) else 0
    rest = values.astype(np.int32)
    for bit in reversed(range(n_bits)):
        one = (rest >> bit & 1).astype(np.bool_)  # [n]
        zeros = np.zeros(len(rest) + 1, dtype=np.int32)
        np.cumsum(~one, out=zeros[1:])
        before, until = zeros[low], zeros[high]  # [q]
        right = k >= until - before
        k = np.where(right, k - (until - before), k)
        low = np.where(right, zeros[-1] + low - before, before)
        high = np.where(right, zeros[-1] + high - until, until)
        found |= right.astype(np.int64) << bit
        rest = np.concatenate([rest[~one], rest[one]])
    return found


def _running(amount: NDArray[Any], start: Long) -> NDArray[Any]:
    # Sums of each user's rows so far.
    total: NDArray[Any] = np.cumsum(amount, dtype=np.int64)
    if not len(total):
        return total
    result: NDArray[Any] = total - (total[start] - amount[start])
    return result


def _stage_at(day: Long, row: Long, f: Facts, d: StageDefinitions) -> tuple[Int, Int]:
    silent = day - f.last_active[row]
    orders = f.orders[row]
    worth_it = (orders >= d.loyal_orders) | f.value_high[row]
    loyal = worth_it & (orders >= 1) & (silent <= d.active_within_days)
    # one where inside the other: several times faster than np.select
    early = np.where(f.keys[row] >= d.activate_times, 2, f.joined[row])
    product = np.where(loyal, 4, np.where(orders >= 1, 3, early))
    back = day - f.resurrected_on[row]
    at_risk = (day >= f.at_risk_from[row]) | f.p_low[row]
    still_back = (back >= 0) & (back < d.resurrected_days)
    overlay = np.where(
        day >= f.churned_from[row],
        CHURNED,
        np.where(still_back, RESURRECTED, np.where(at_risk, AT_RISK, NONE)),
    )
    return product.astype(np.int32), overlay.astype(np.int32)


def _same(product: Int, overlay: Int) -> Bool:
    return np.asarray((product[1:] == product[:-1]) & (overlay[1:] == overlay[:-1]))
