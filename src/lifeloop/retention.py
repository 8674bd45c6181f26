"""How long a business keeps what: what goes, and what the lifecycle loses with it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from lifeloop.config import Scenario
from lifeloop.contracts import Cutoffs, Expired, Store
from lifeloop.custody import lake_of
from lifeloop.home import Home
from lifeloop.lifecycle import StageDefinitions
from lifeloop.lifecycle import stages as stages_of
from lifeloop.moment import DAY_US, Moment, moment
from lifeloop.overview import ORDER
from lifeloop.screening import screened


@dataclass(frozen=True, slots=True)
class Retained:
    """What goes (or went), and what the lifecycle of those who stay shows afterwards.

    ``stages``: stage -> users before and after. ``moved`` users stand elsewhere, ``vanished``
    ones have no event left; ``as_new`` were here before the cut-off and will look as if they had
    come after it. Money is that of order lines.
    """

    cutoffs: Cutoffs
    expired: Expired
    applied: bool
    users: int
    moved: int
    vanished: int
    as_new: int
    orders: int
    revenue: float
    stages: dict[str, tuple[int, int]]
    notes: tuple[str, ...]


def cutoffs_of(scenario: Scenario, *, now_us: int) -> Cutoffs:
    """Return the moments before which rows go, by the settings of ``[storage]``."""
    rules = scenario.storage

    def before(days: int | None) -> int | None:
        return None if days is None else now_us - days * DAY_US

    return Cutoffs(
        events_us=before(rules.keep_events_days),
        decisions_us=before(rules.keep_decisions_days),
        quarantine_us=before(rules.keep_quarantine_days),
        audit_us=before(rules.keep_audit_days),
    )


def retain(store: Store, home: Home, *, now_us: int, apply: bool) -> Retained:
    """Say what has been kept long enough, and with ``apply`` remove it from store and lake.

    The lifecycle is computed twice, with and without what goes, so that nothing changes unsaid.
    """
    scenario = home.scenario
    cutoffs = cutoffs_of(scenario, now_us=now_us)
    at = moment(store.head().last_event_us, scenario, now_us=now_us)
    effects = _effects(store, scenario, cutoffs.events_us, at)
    if not apply:
        return Retained(cutoffs, store.expiring(cutoffs), False, **effects)
    expired = store.expire(cutoffs, at_us=now_us)
    lake = lake_of(store, scenario, home.folder)
    if lake.status().files:
        lake.extend()
    return Retained(cutoffs, expired, True, **effects)


def _effects(store: Store, scenario: Scenario, cut_us: int | None, at: Moment) -> dict[str, Any]:
    nothing: dict[str, Any] = {
        "users": 0, "moved": 0, "vanished": 0, "as_new": 0, "orders": 0, "revenue": 0.0,
        "stages": {}, "notes": (),
    }  # fmt: skip
    if cut_us is None:
        return nothing
    events = screened(store.snapshot(as_of_us=at.as_of_us), scenario).events
    goes = pl.coalesce("t_us", "received_us") < cut_us
    gone, left = events.filter(goes), events.filter(~goes)
    if gone.is_empty():
        return {**nothing, "users": events["user_id"].n_unique()}
    before, after = (_placed(part, scenario, at) for part in (events, left))
    both = before.join(after, on="user_id", how="left", suffix="_after")
    lines = gone.filter(pl.col("type").is_in(list(scenario.order_types)))
    burn_in_us = scenario.time.burn_in_days * DAY_US
    firsts = left.group_by("user_id").agg(pl.col("t_us").min().alias("first"))
    returning = gone.select("user_id").unique().join(firsts, on="user_id")
    start = left["t_us"].min()
    as_new = 0
    if isinstance(start, int):
        as_new = returning.filter(pl.col("first") >= start + burn_in_us).height
    stages = {
        stage: tuple(int((part["stage"] == stage).sum()) for part in (before, after))
        for stage in ORDER
    }
    orders = int(lines.select(pl.coalesce("order_id", "event_id")).n_unique())
    facts = {
        "users": before.height,
        "moved": int((both["stage"] != both["stage_after"]).sum()),
        "vanished": before.height - after.height,
        "as_new": as_new,
        "orders": orders,
        "revenue": float(lines["value"].sum() or 0.0),
        "stages": stages,
    }
    return {**facts, "notes": tuple(_notes(facts, scenario, cut_us))}


def _placed(events: pl.DataFrame, scenario: Scenario, at: Moment) -> pl.DataFrame:
    timed = events.filter(pl.col("t_us").is_not_null())
    if timed.is_empty():
        return pl.DataFrame(schema={"user_id": pl.String, "stage": pl.String})
    return stages_of(
        timed,
        definitions=StageDefinitions.of(scenario),
        zone=scenario.locale.zone,
        as_of=at.as_of_us,
    ).select("user_id", "stage")


def _notes(facts: dict[str, Any], scenario: Scenario, cut_us: int) -> list[str]:
    day = datetime.fromtimestamp(cut_us // 1_000_000, tz=UTC).date()
    burn_in = scenario.time.burn_in_days
    told = [
        f"retention, cohorts, lifetime value and every trend begin at {day}; users first seen "
        f"within {burn_in} days of it count as existing"
    ]
    if facts["as_new"]:
        told.append(
            f"{facts['as_new']:,} users were here before and come back later than that: new users "
            "and acquisition will count them as new"
        )
    if facts["orders"]:
        told.append(
            f"{facts['orders']:,} orders worth {facts['revenue']:,.2f} {scenario.locale.currency} "
            "leave revenue, RFM, order counts (and with them loyalty) and the purchase models"
        )
    if facts["vanished"]:
        told.append(f"{facts['vanished']:,} users have no event left and leave every count")
    return told
