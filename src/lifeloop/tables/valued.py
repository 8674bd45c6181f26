"""Tables of what is to come: churn, lifetime value, forecast, the value of stages."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from lifeloop.lifecycle import churn, ltv
from lifeloop.lifecycle.clv import Terms
from lifeloop.lifecycle.forecast import tables as forecast
from lifeloop.lifecycle.forecast import values
from lifeloop.tables.source import Source
from lifeloop.tables.spec import Option, Spec
from lifeloop.tables.texts import vectors_of

PRICES = ("horizon_days", "discount", "margin")


def _priced(function: Callable[..., pl.DataFrame]) -> Callable[..., pl.DataFrame]:
    """Return the function with the entries of ``Terms`` as options of their own."""

    def compute(events: Any, *, terms: Terms, **given: Any) -> pl.DataFrame:
        said = {name: given.pop(name) for name in PRICES if name in given}
        return function(events, terms=replace(terms, **said), **given)

    return compute


def terms_of(source: Source) -> Terms:
    """Return what a value is in the scenario: horizon, period, discount and margin."""
    value = source.scenario.value
    return Terms(
        horizon_days=value.horizon_days,
        period_days=source.scenario.time.period_days,
        discount=value.discount,
        margin=value.margin,
    )


def _terms(source: Source) -> Mapping[str, Any]:
    return {"terms": terms_of(source)}


def _money(source: Source) -> Mapping[str, Any]:
    d = source.definitions
    return {**_terms(source), "order_types": d.orders, "refund_types": d.refunds}


def _definitions(source: Source) -> Mapping[str, Any]:
    return {"definitions": source.definitions}


def _watched(source: Source) -> Mapping[str, Any]:
    return {**_definitions(source), "texts": vectors_of(source)}


def _at_stake(source: Source) -> Mapping[str, Any]:
    return {**_terms(source), **_watched(source)}


def _both(source: Source) -> Mapping[str, Any]:
    return {**_terms(source), **_definitions(source)}


TERMS = (
    Option("horizon_days", "integer", None, "days to come; default: the scenario's"),
    Option("discount", "number", None, "yearly rate; default: the scenario's"),
    Option("margin", "number", None, "share of net revenue that is margin"),
)
WITHIN = Option("within_days", "integer", 56, "days ahead, in whole weeks")
UNTIL = Option("until", "choice", "churn", "what ends the wait", churn.SPANS)
STATES = Option("of", "choice", "states", "activity states or stages", ("states", "stages"))
STAGES = replace(STATES, default="stages")
AHEAD = Option("horizon_days", "integer", 28, "days ahead")

_BUYS: Any = {"shows": ("conversion",), "column": "value", "window": False}
_ANY: Any = {"window": False}

VALUED = (
    Spec("survival", churn.survival, "retention", _definitions, (UNTIL,), **_ANY,
         notes=("survival",)),
    Spec("churn_effects", churn.churn_effects, "retention", _definitions, (UNTIL,), **_ANY,
         notes=("effects",)),
    Spec("churn_risk", _priced(churn.churn_risk), "retention", _at_stake, (WITHIN, *TERMS), **_ANY,
         notes=("risk",)),
    Spec("churn_calibration", churn.churn_calibration, "retention", _watched, (WITHIN,),
         **_ANY, notes=("hidden",)),
    Spec("churn_backtest", churn.churn_backtest, "retention", _watched, (WITHIN,), **_ANY,
         notes=("hidden",)),
    Spec("predicted_ltv", _priced(ltv.predicted_ltv), "loyalty", _money, TERMS, **_BUYS,
         notes=("known_customers",)),
    Spec("customer_value", _priced(ltv.customer_value), "loyalty", _money, TERMS, **_BUYS),
    Spec("ltv_by_age", ltv.ltv_by_age, "loyalty",
         lambda source: {"order_types": source.definitions.orders,
                         "refund_types": source.definitions.refunds,
                         "margin": source.scenario.value.margin},
         (), ("conversion",), column="value", counts_new=True, notes=("ages",)),
    Spec("ltv_backtest", _priced(ltv.ltv_backtest), "loyalty", _money, TERMS[:1], **_BUYS,
         notes=("hidden",)),
    Spec("ltv_calibration", _priced(ltv.ltv_calibration), "loyalty", _money, TERMS[:1], **_BUYS,
         notes=("hidden",)),
    Spec("forecast", forecast.forecast, "all", _definitions, (STATES, AHEAD), **_ANY,
         notes=("forecast",)),
    Spec("forecast_backtest", forecast.forecast_backtest, "all", _definitions, (STATES, AHEAD),
         **_ANY, notes=("hidden",)),
    Spec("stage_value", _priced(values.stage_value), "all", _both, (STAGES, *TERMS), **_BUYS,
         notes=("policy_value",)),
    Spec("move_value", _priced(values.move_value), "all", _both, (STAGES, *TERMS), **_BUYS,
         notes=("policy_value",)),
)  # fmt: skip
"""Every table of what is to come."""
