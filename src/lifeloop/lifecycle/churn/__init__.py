"""When users leave: survival curves, Cox's effects, a calibrated hazard with its reasons."""

from lifeloop.lifecycle.churn.cox import Effects, fit_cox
from lifeloop.lifecycle.churn.curve import Curve, kaplan_meier, logrank
from lifeloop.lifecycle.churn.hazard import Hazard, churned_within, fit_hazard, matrix
from lifeloop.lifecycle.churn.judge import brier, c_index, reliability
from lifeloop.lifecycle.churn.panel import FEATURES, Panel, churn_day_after, panel_of, standing_at
from lifeloop.lifecycle.churn.reasons import reasons
from lifeloop.lifecycle.churn.risk import churn_backtest, churn_calibration, churn_risk
from lifeloop.lifecycle.churn.spans import SPANS, churn_effects, survival

__all__ = [
    "FEATURES",
    "SPANS",
    "Curve",
    "Effects",
    "Hazard",
    "Panel",
    "brier",
    "c_index",
    "churn_backtest",
    "churn_calibration",
    "churn_day_after",
    "churn_effects",
    "churn_risk",
    "churned_within",
    "fit_cox",
    "fit_hazard",
    "kaplan_meier",
    "logrank",
    "matrix",
    "panel_of",
    "reasons",
    "reliability",
    "standing_at",
    "survival",
]
