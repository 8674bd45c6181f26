"""The stage of one user at request time, from the history in the request."""

from typing import Any

import numpy as np
import polars as pl

from lifeloop.contracts import UNTIMED, Double, History, Int, Long, StageResult
from lifeloop.lifecycle.activity import STATES, state_codes
from lifeloop.lifecycle.calendar import date_of, day_of, days_of
from lifeloop.lifecycle.daytable import DAY_SCHEMA, DayTable, table_of, with_predicted
from lifeloop.lifecycle.definitions import OVERLAYS, PRODUCT_STAGES, StageDefinitions
from lifeloop.lifecycle.money import LIMIT, MICRO
from lifeloop.lifecycle.path import MIN_GAPS, NEVER, path
from lifeloop.lifecycle.predictions import P_ENTER, P_LEAVE
from lifeloop.lifecycle.stages import last_stretch

LARGE = 1e9
"""Amounts beyond this are added up without a bound on the sum."""


def stage_of(
    history: History,
    *,
    definitions: StageDefinitions,
    zone: str = "UTC",
    as_of_us: int,
    log_start_us: int | None = None,
    predictions: pl.DataFrame | None = None,
) -> StageResult:
    """Return where one user stands just before ``as_of_us``: the rules of ``stages``, in < 1 ms.

    Parameters
    ----------
    history : History
        Everything the user did (a history cut to its newest events may under-count orders and
        be too young).
    definitions : StageDefinitions
        What joins, activates, converts, and the thresholds.
    zone : str
        IANA zone of days.
    as_of_us : int
        Moment of the question, µs; events at or after it are invisible.
    log_start_us : int, optional
        The log's first event time: who was first seen within the burn-in after it is
        ``existing``. None: nobody is.
    predictions : polars.DataFrame, optional
        What ``predictions.predicted`` says of this user: the percentile behind ``value_high`` is
        one of all users, so it cannot be found here.

    Returns
    -------
    StageResult
        For a user of whom nothing timed is known: acquisition, with rule ``no_history`` or
        ``no_timed_events``, never an exception.
    """
    today = day_of(as_of_us - 1, zone)
    use = (history.t_us != UNTIMED) & ~history.is_bot & (history.t_us < as_of_us)
    rows = np.flatnonzero(use)
    if not len(rows):
        return _nothing(history, date_of(today).isoformat())
    d = definitions
    table = _day_table(history, rows, d, zone)
    if predictions is not None:
        table = _foretold(table, predictions, last_day=today)
    f, p = path(table, d, last_day=today)
    at = len(table) - 1
    has_active = bool(f.last_active[at] > -NEVER)
    first = int(f.first_active[at] if has_active else table.day[0])
    existing = False
    if log_start_us is not None:
        existing = first < day_of(log_start_us, zone) + d.burn_in_days
    stretch, since = last_stretch(p, 1)
    overlay = (None, *OVERLAYS)[int(p.overlay[stretch[0]])]
    product = PRODUCT_STAGES[int(p.product[stretch[0]])]
    code = int(
        state_codes(
            today,
            last_active=f.last_active[-1:],
            previous_active=f.previous_active[-1:],
            existing=np.array([existing]),
        )[0]
    )
    facts: dict[str, Any] = {
        "first_seen": date_of(first).isoformat(),
        "last_active": date_of(int(f.last_active[at])).isoformat() if has_active else None,
        "orders": int(f.orders[at]),
        "key_actions": int(f.keys[at]),
        "joined": bool(f.joined[at]),
        "own_gaps": int(f.n_gaps[at]),
        "at_risk_after_days": int(f.threshold[at]),
    }
    gap = today - int(f.last_active[at]) if has_active else None
    churned_on = int(f.churned_from[at])
    contract = churned_on < int(f.last_active[at]) + d.churned_gap_days
    return StageResult(
        user_id=history.user_id,
        date=date_of(today).isoformat(),
        stage=overlay or product,
        product_stage=product,
        overlay=overlay,
        activity=STATES[code] if code >= 0 else None,
        since=date_of(int(since[0])).isoformat(),
        rule=rule_text(
            overlay or product,
            facts,
            d,
            gap=gap,
            contract_end=churned_on if contract else None,
            back=int(f.resurrected_on[at]),
            p_alive=round(float(f.p_alive[at]), 3),
        ),
        existing=existing,
        gap_days=gap,
        facts=facts,
    )


def rule_text(
    stage: str,
    facts: dict[str, Any],
    d: StageDefinitions,
    *,
    gap: int | None,
    contract_end: int | None,
    back: int,
    p_alive: float,
) -> str:
    """Return the rule that decides the shown stage, with its numbers."""
    orders, own, limit = facts["orders"], facts["own_gaps"], facts["at_risk_after_days"]
    if stage == "churned":
        if contract_end is not None:
            return f"contract_end: on {date_of(contract_end).isoformat()}"
        return f"silent: {gap} >= {d.churned_gap_days} days"
    if stage == "resurrected":
        return f"came_back: on {date_of(back).isoformat()}, shown {d.resurrected_days} days"
    if stage == "at_risk":
        if gap is not None and gap <= limit:
            return f"p_alive: {p_alive} below {P_ENTER}, until above {P_LEAVE}"
        if own >= MIN_GAPS:
            return f"silent_own: {gap} > {limit} days, of {own} own gaps"
        return f"silent: {gap} > {limit} days"
    if stage == "loyalty" and orders < d.loyal_orders:
        return f"predicted_value: in the top tenth, silent {gap} <= {d.active_within_days} days"
    if stage == "loyalty":
        return f"orders: {orders} >= {d.loyal_orders}, silent {gap} <= {d.active_within_days} days"
    if stage == "conversion":
        if orders >= d.loyal_orders:
            return f"lapsed_loyal: {orders} orders, silent {gap} > {d.active_within_days} days"
        return f"orders: {orders} >= 1"
    if stage == "retention":
        return f"key_actions: {facts['key_actions']} >= {d.activate_times}"
    if stage == "activation":
        return "joined"
    return "no_activity" if gap is None else "seen"


def _nothing(history: History, today: str) -> StageResult:
    return StageResult(
        user_id=history.user_id,
        date=today,
        stage="acquisition",
        product_stage="acquisition",
        overlay=None,
        activity=None,
        since=None,
        rule="no_timed_events" if len(history) else "no_history",
        existing=False,
        gap_days=None,
        facts={},
    )


def _day_table(history: History, rows: Long, d: StageDefinitions, zone: str) -> DayTable:
    days, which = np.unique(days_of(history.t_us[rows], zone), return_inverse=True)
    n = len(days)
    kinds = list(dict.fromkeys(history.type))
    code = {kind: i for i, kind in enumerate(kinds)}
    codes = np.fromiter(map(code.__getitem__, history.type), np.int64, len(history))[rows]
    counts = np.bincount(which * len(kinds) + codes, minlength=n * len(kinds))
    meaning = np.array([_meaning(kind, d) for kind in kinds])  # [types, 5]
    per_day = counts.reshape(n, len(kinds)) @ meaning[:, :4]  # [n, 4]
    sign = meaning[codes, 4]
    is_line = np.flatnonzero(sign)
    return DayTable(
        days,
        np.array([0, n]),
        active=per_day[:, 0] > 0,
        joined=per_day[:, 1] > 0,
        keys=per_day[:, 2].astype(np.int32),
        ended=per_day[:, 3] > 0,
        d_orders=_order_changes(history, rows[is_line], which[is_line], sign[is_line], n),
    )


def _meaning(kind: str, d: StageDefinitions) -> tuple[int, int, int, int, int]:
    """Return active, joins, activates, ends (0 or 1) and 1 for an order line, -1 for a refund."""
    line = -1 if kind in d.refunds else int(kind in d.orders)
    return (kind not in d.passive, kind in d.joins, kind in d.activates, kind in d.ends, line)


def _foretold(table: DayTable, predictions: pl.DataFrame, *, last_day: int) -> DayTable:
    rows = pl.DataFrame({name: getattr(table, name) for name in DAY_SCHEMA}, schema=DAY_SCHEMA)
    known = predictions.with_columns(user_id=pl.lit(""))
    both = with_predicted(rows.with_columns(user_id=pl.lit("")), known, last_day=last_day)
    return table_of(both, np.array([0, len(both)]))


def _order_changes(history: History, rows: Long, days: Long, signs: Long, n: int) -> Int:
    """Return how many more orders stand after each day [n].

    Orders of one day without a refund, which is most of them, are counted all at once.
    """
    names: list[str | int | None] = list(map(history.order_id.__getitem__, rows.tolist()))
    if None in names:  # an order of its own for every moment without one
        times = history.t_us[rows].tolist()
        names = [t if own is None else own for own, t in zip(names, times, strict=True)]
    place = {name: n for n, name in enumerate(dict.fromkeys(names))}
    order = np.fromiter(map(place.__getitem__, names), np.int64, len(names))
    value = history.value[rows]
    valued = np.abs(value) < LIMIT  # False for NaN: money unknown
    money = np.rint(np.where(valued, value, 0.0) * MICRO)
    first = np.full(len(place), n, np.int64)
    np.minimum.at(first, order, days)
    odd = np.zeros(len(place), np.bool_)
    odd[order[(days != first[order]) | (signs < 0) | (np.abs(value) > LARGE)]] = True
    net = np.zeros(len(place), np.int64)
    np.add.at(net, order, money.astype(np.int64))
    unknown = np.bincount(order, weights=valued, minlength=len(place)) == 0
    change = np.bincount(first[~odd & ((net > 0) | unknown)], minlength=n)
    if odd.any():
        change = change + _odd_changes(order, np.flatnonzero(odd[order]), days, signs, value, n)
    return change.astype(np.int32)


def _odd_changes(
    order: Long, lines_at: Long, days: Long, signs: Long, value: Double, n: int
) -> Long:
    """Return the same for orders with refunds or lines of several days, line by line."""
    change = [0] * n
    lines: dict[int, list[tuple[int, int, float]]] = {}
    told = (order, days, signs, value)
    for o, k, sign, amount in zip(*(a[lines_at].tolist() for a in told), strict=True):
        lines.setdefault(o, []).append((k, sign, amount))
    for order_lines in lines.values():
        net = paid = valued = refunds = stood = 0
        for j, (k, sign, amount) in enumerate(order_lines):
            if abs(amount) < LIMIT:  # False for NaN: money unknown
                money = round(amount * MICRO)
                net += money if sign > 0 else -abs(money)
                valued += 1
            paid += sign > 0
            refunds += sign < 0
            if j + 1 < len(order_lines) and order_lines[j + 1][0] == k:
                continue  # what counts is how the order stands at the end of the day
            stands = int(paid > 0 and (net > 0 or (valued == 0 and refunds == 0)))
            change[k] += stands - stood
            stood = stands
    return np.array(change, dtype=np.int64)
