"""Every lifecycle table by name: what computes it, what may be asked, and when it cannot be."""

from collections.abc import Mapping
from typing import Any, get_args

from lifeloop import lifecycle as lc
from lifeloop.lifecycle.retention import Cohort, Kind
from lifeloop.lifecycle.value import Entry
from lifeloop.tables.source import Source
from lifeloop.tables.spec import Option, Spec
from lifeloop.tables.valued import VALUED


def _definitions(source: Source) -> Mapping[str, Any]:
    return {"definitions": source.definitions}


def _placed(source: Source) -> Mapping[str, Any]:
    return {"definitions": source.definitions, "predictions": source.predictions}


def _sessions(source: Source) -> Mapping[str, Any]:
    return {"gap_minutes": source.scenario.time.session_gap_minutes}


def _signup(source: Source) -> Mapping[str, Any]:
    d = source.definitions
    return {"joins": d.joins, "within_days": d.activate_within_days}


def _activation(source: Source) -> Mapping[str, Any]:
    d = source.definitions
    return {**_signup(source), "activates": d.activates, "times": d.activate_times}


def _conversion(source: Source) -> Mapping[str, Any]:
    return {"orders": source.definitions.orders, "refunds": source.definitions.refunds}


def _money(source: Source) -> Mapping[str, Any]:
    return {"order_types": source.definitions.orders, "refund_types": source.definitions.refunds}


def _referrals(source: Source) -> Mapping[str, Any]:
    return {"activates": source.definitions.activates, "times": source.definitions.activate_times}


WITHIN = Option("within_days", "integer", None, "days that a user has; default: the scenario's")
GAP = Option("gap_minutes", "number", None, "inactivity that opens a session")
RETENTION = (
    Option("kind", "choice", "nday", "active at, from, or within an offset", get_args(Kind)),
    Option("cohort", "choice", "first", "first period ever, or every active period",
           get_args(Cohort)),
    Option("brackets", "pairs", ((1, 7), (8, 14), (15, 30)), "offsets for kind=bracket: 1-7,8-14"),
    Option("max_offset", "integer", None, "largest offset; default: to the end of the window"),
)  # fmt: skip

_SPECS = (
    Spec("traffic", lc.traffic, "acquisition", _sessions, (GAP,)),
    Spec("sessions", lc.sessions, "acquisition", _sessions, (GAP,)),
    Spec("signup_conversion", lc.signup_conversion, "acquisition", _signup, (WITHIN,),
         ("activation",), counts_new=True),
    Spec("activation", lc.activation, "activation", _activation,
         (WITHIN, Option("times", "integer", None, "key actions that activate")),
         ("activation", "retention"), counts_new=True),
    Spec("active_users", lc.active_users, "retention", days=True),
    Spec("active_day_histogram", lc.active_day_histogram, "retention", window=False, days=True),
    Spec("activity_states", lc.activity_states, "retention", counts_new=True, days=True),
    Spec("return_rates", lc.return_rates, "retention", counts_new=True, days=True),
    Spec("growth_accounting", lc.growth_accounting, "retention", counts_new=True, days=True),
    Spec("retention", lc.retention, "retention", options=RETENTION, counts_new=True, days=True),
    Spec("retention_curve", lc.retention_curve, "retention", options=RETENTION, counts_new=True,
         days=True),
    Spec("conversion", lc.conversion, "conversion", _conversion,
         (Option("within_days", "integer", 30, "days that a new user has to order"),),
         ("conversion",), counts_new=True),
    Spec("orders", lc.orders, "conversion", _money,
         (Option("repeat_within_days", "integer", 90, "days in which a second order repeats"),),
         ("conversion",)),
    Spec("observed_ltv", lc.observed_ltv, "loyalty", _money,
         (Option("entry", "choice", "seen", "what puts a user in a cohort", get_args(Entry)),
          Option("margin", "number", 1.0, "share of net revenue that is margin")),
         ("conversion",), counts_new=True),
    Spec("rfm", lc.rfm, "loyalty", _money,
         (Option("bins", "integer", 5, "number of scores"),), ("conversion",), window=False),
    Spec("referrals", lc.referrals, "loyalty", _referrals, (), ("retention",), "referrer_id"),
    Spec("satisfaction", lc.satisfaction, "loyalty", types=("csat", "nps")),
    Spec("churn_rate", lc.churn_rate, "retention", _placed, days=True),
    Spec("stage_counts", lc.stage_counts, "all", _placed, days=True),
    Spec("transitions", lc.transitions, "all", _placed, days=True),
    Spec("stages", lc.stages, "all", _placed, window=False, days=True),
)  # fmt: skip

TABLES: Mapping[str, Spec] = {spec.name: spec for spec in (*_SPECS, *VALUED)}
"""Every table: in the order of the stages, then what is to come."""
