"""Which stage every user is in at one moment, and by which rule."""

from datetime import datetime
from typing import Unpack

import numpy as np
import polars as pl
from narwhals.typing import IntoFrame

from lifeloop.contracts import Bool, Long
from lifeloop.lifecycle.activity import STATES, state_codes
from lifeloop.lifecycle.calendar import check_zone, end_of_day_us, micros, number_of
from lifeloop.lifecycle.definitions import OVERLAYS, PRODUCT_STAGES, StageDefinitions
from lifeloop.lifecycle.frame import Events
from lifeloop.lifecycle.options import Options, opened, segments
from lifeloop.lifecycle.path import MIN_GAPS, NEVER, Facts, Path
from lifeloop.lifecycle.predictions import P_ENTER, P_LEAVE
from lifeloop.lifecycle.segments import splitting
from lifeloop.lifecycle.standing import standing

SHOWN = (*PRODUCT_STAGES, *OVERLAYS)
"""Names of what is shown, by ``shown_codes``."""

STAGE_SCHEMA = {
    "user_id": pl.String,
    "date": pl.Date,
    "stage": pl.String,
    "product_stage": pl.String,
    "overlay": pl.String,
    "activity": pl.String,
    "since": pl.Date,
    "rule": pl.String,
    "existing": pl.Boolean,
    "gap_days": pl.Int64,
    "first_seen": pl.Date,
    "last_active": pl.Date,
    "orders": pl.Int64,
    "key_actions": pl.Int64,
    "joined": pl.Boolean,
    "own_gaps": pl.Int64,
    "at_risk_after_days": pl.Int64,
}
"""Columns of ``stages``."""


@splitting
def stages(
    events: Events,
    *,
    definitions: StageDefinitions,
    predictions: IntoFrame | None = None,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return one row per user: the stage on the local day of the last instant before ``as_of``.

    Exactly one product stage holds, the highest reached by then: loyalty (``loyal_orders``
    net-positive orders, or one and a predicted value in the month's top tenth; and at most
    ``active_within_days`` silent, else back to conversion) >
    conversion (an order with net > 0) > retention (``activate_times`` key actions) > activation
    (joined) > acquisition. Over it may lie churned > resurrected > at_risk. At risk means silent
    longer than the ⌈0.9 n⌉-th smallest of the user's own n ≥ 5 gaps between active days, else
    than ``at_risk_gap_days``, or P(alive) < 0.5; churned, silent ``churned_gap_days`` or a
    contract that ended; resurrected, ``resurrected_days`` from the first active day after being
    churned.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``, optionally ``order_id``, ``value``, ``is_bot``.
    definitions : StageDefinitions
        What joins, activates, converts, and the thresholds.
    predictions : frame, optional
        Monthly ``predicted_value`` and ``p_alive`` per user: see ``predictions.predicted``.
    members : bool
        No effect: the table is one row per user already.
    **options
        See ``Options``. The day shown is that of ``as_of``, or ``end`` where that is earlier.
        ``start`` and ``grain`` have no effect; ``passive`` and ``burn_in_days`` are those of
        ``definitions``.

    Returns
    -------
    polars.DataFrame
        (``by``,) ``STAGE_SCHEMA``, sorted by user. ``stage`` is what is shown: the overlay if there
        is one, else the product stage. ``activity``, ``gap_days``, ``last_active`` are null for a
        user to whom things only happened (say, a refund); ``first_seen`` is then the first event.

    Raises
    ------
    InputError
        See ``Options``.

    References
    ----------
    spec/lifecycle.md, section 2.
    """
    del members
    options = {**options, "grain": "day", "burn_in_days": definitions.burn_in_days}
    view = opened(events, ended(options), named=bool(options.get("by")))
    log = view.log
    schema = {**dict.fromkeys(view.by, pl.String), **STAGE_SCHEMA}
    if log.lo_us is None:
        return pl.DataFrame(schema=schema)
    today = log.last_day
    stood = standing(log, definitions, predictions)
    user_ids, f, p, at = stood.user_ids, stood.facts, stood.path, stood.last
    first = np.where(f.first_active[at] < NEVER, f.first_active[at], stood.first_day)  # [U]
    existing = first < view.first_new_day
    stretch, since = last_stretch(p, len(user_ids))
    day = np.full(len(user_ids), today)
    activity = state_codes(
        today,
        last_active=f.last_active[at],
        previous_active=f.previous_active[at],
        existing=existing,
    )
    now = Path(at, p.user[stretch], day, p.product[stretch], p.overlay[stretch])
    frame = described(user_ids, f, now, definitions=definitions)
    frame = frame.with_columns(
        activity=name_of(pl.Series(activity), STATES),
        since=dates_of(since),
        existing=pl.Series(existing),
        first_seen=dates_of(first),
    )
    if view.by:
        frame = frame.join(segments(view), on="user_id", how="left", maintain_order="left")
    return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())


def ended(options: Options) -> Options:
    """Return the options with ``as_of`` at the end of ``end``, where that is earlier."""
    end, as_of = options.get("end"), options.get("as_of")
    if end is None:
        return options
    over_us = end_of_day_us(number_of(end), check_zone(options.get("zone", "UTC")).key)
    now_us = micros(as_of) if isinstance(as_of, datetime) else as_of
    return {**options, "as_of": over_us if now_us is None else min(over_us, now_us)}


def described(
    user_ids: pl.Series, f: Facts, p: Path, *, definitions: StageDefinitions
) -> pl.DataFrame:
    """Return names, numbers and the rule for rows of a path, each as of its ``begin``. [k].

    ``p.row`` must be the newest user-day by then: it is where the numbers are read.

    Returns
    -------
    polars.DataFrame
        user_id, date, stage, product_stage, overlay, rule, gap_days, last_active, orders,
        key_actions, joined, own_gaps, at_risk_after_days.
    """
    at = p.row  # [k] user-days
    seen = f.last_active[at] > -NEVER
    ended = f.churned_from[at] < f.last_active[at] + definitions.churned_gap_days
    frame = pl.DataFrame(
        {
            "user_id": user_ids.gather(p.user),
            "date": dates_of(p.begin),
            "product_stage": name_of(pl.Series(p.product), PRODUCT_STAGES),
            "overlay": name_of(pl.Series(p.overlay) - 1, OVERLAYS),
            "last_active": dates_of(f.last_active[at], seen),
            "back": dates_of(f.resurrected_on[at], f.resurrected_on[at] > -NEVER),
            "churned_on": dates_of(f.churned_from[at], f.churned_from[at] < NEVER),
            "ended": ended,
            "orders": f.orders[at],
            "key_actions": f.keys[at],
            "joined": f.joined[at],
            "own_gaps": f.n_gaps[at],
            "at_risk_after_days": f.threshold[at],
            "p_alive": f.p_alive[at],
        }
    )
    return frame.with_columns(
        gap_days=(pl.col("date") - pl.col("last_active")).dt.total_days(),
        stage=pl.coalesce("overlay", "product_stage"),
    ).with_columns(rule=rule_expr(definitions))


def last_stretch(p: Path, n_users: int) -> tuple[Long, Long]:
    """Return each user's last row of the path, and the day since the same stage is shown. [U]."""
    ends = np.append(np.flatnonzero(np.diff(p.user)), len(p.user) - 1)[:n_users]
    shown = shown_codes(p)
    changed = np.append(True, (shown[1:] != shown[:-1]) | (p.user[1:] != p.user[:-1]))
    begun = np.maximum.accumulate(np.where(changed, np.arange(len(shown)), 0))
    return ends, p.begin[begun[ends]]


def shown_codes(p: Path) -> Long:
    """Return the index in ``SHOWN`` of what is shown along the path. [m]."""
    overlay = np.array([0, 5, 6, 7])[p.overlay]
    return np.asarray(np.where(p.overlay > 0, overlay, p.product), dtype=np.int64)


def name_of(codes: pl.Series, names: tuple[str, ...]) -> pl.Series:
    """Return the name for each code, null for codes below 0."""
    return codes.cast(pl.Int64).replace_strict(
        list(range(len(names))), list(names), default=None, return_dtype=pl.String
    )


def dates_of(days: Long, known: Bool | None = None) -> pl.Series:
    """Return day numbers as dates, null where not known."""
    if known is not None:
        days = np.where(known, days, 0)
    dates = pl.Series(np.asarray(days, dtype=np.int32)).cast(pl.Date)
    return dates if known is None else dates.scatter(np.flatnonzero(~known), None)


def rule_expr(d: StageDefinitions) -> pl.Expr:
    """Return the rule that decides the shown stage, with its numbers; see ``rule_text``."""
    silent, orders = pl.col("gap_days"), pl.col("orders")
    rules = [
        (
            pl.col("stage") == "churned",
            pl.when("ended")
            .then(pl.format("contract_end: on {}", "churned_on"))
            .otherwise(pl.format("silent: {} >= {} days", silent, pl.lit(d.churned_gap_days))),
        ),
        (
            pl.col("stage") == "resurrected",
            pl.format(
                "came_back: on {}, shown {} days",
                "back",
                pl.lit(d.resurrected_days),
            ),
        ),
        (
            (pl.col("stage") == "at_risk") & (silent <= pl.col("at_risk_after_days")),
            pl.format(
                "p_alive: {} below {}, until above {}",
                pl.col("p_alive").round(3),
                pl.lit(P_ENTER),
                pl.lit(P_LEAVE),
            ),
        ),
        (
            (pl.col("stage") == "at_risk") & (pl.col("own_gaps") >= MIN_GAPS),
            pl.format(
                "silent_own: {} > {} days, of {} own gaps",
                silent,
                pl.col("at_risk_after_days"),
                pl.col("own_gaps"),
            ),
        ),
        (
            pl.col("stage") == "at_risk",
            pl.format("silent: {} > {} days", silent, pl.col("at_risk_after_days")),
        ),
        (
            (pl.col("stage") == "loyalty") & (orders < d.loyal_orders),
            pl.format(
                "predicted_value: in the top tenth, silent {} <= {} days",
                silent,
                pl.lit(d.active_within_days),
            ),
        ),
        (
            pl.col("stage") == "loyalty",
            pl.format(
                "orders: {} >= {}, silent {} <= {} days",
                orders,
                pl.lit(d.loyal_orders),
                silent,
                pl.lit(d.active_within_days),
            ),
        ),
        (
            (pl.col("stage") == "conversion") & (orders >= d.loyal_orders),
            pl.format(
                "lapsed_loyal: {} orders, silent {} > {} days",
                orders,
                silent,
                pl.lit(d.active_within_days),
            ),
        ),
        (pl.col("stage") == "conversion", pl.format("orders: {} >= 1", orders)),
        (
            pl.col("stage") == "retention",
            pl.format("key_actions: {} >= {}", pl.col("key_actions"), pl.lit(d.activate_times)),
        ),
        (pl.col("stage") == "activation", pl.lit("joined")),
        (silent.is_null(), pl.lit("no_activity")),
    ]
    rule = pl.lit("seen")
    for condition, text in reversed(rules):
        rule = pl.when(condition).then(text).otherwise(rule)
    return rule
