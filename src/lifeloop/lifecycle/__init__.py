"""Where every user stands: activity states, product stages, metrics. Pure functions.

Every function takes an event frame of any engine (Polars, DuckDB, Spark) with ``user_id``
(string), ``t_us`` (int64, UTC microseconds), ``type`` (string) and optionally ``event_id``,
``seq``, ``order_id``, ``value``, ``currency``, ``rating``, ``referrer_id``, ``is_bot``, and returns
a Polars table. ``Options`` are the parameters that mean the same everywhere.
"""

from lifeloop.lifecycle.active import active_day_histogram, active_users
from lifeloop.lifecycle.activity import STATES, activity_states, return_rates
from lifeloop.lifecycle.churn_rate import churn_rate
from lifeloop.lifecycle.definitions import OVERLAYS, PRODUCT_STAGES, StageDefinitions
from lifeloop.lifecycle.funnel import activation, conversion, signup_conversion
from lifeloop.lifecycle.growth import growth_accounting
from lifeloop.lifecycle.observable import observable, truncation_note
from lifeloop.lifecycle.options import Options
from lifeloop.lifecycle.orders import orders
from lifeloop.lifecycle.request import stage_of
from lifeloop.lifecycle.retention import retention, retention_curve
from lifeloop.lifecycle.stage_counts import stage_counts
from lifeloop.lifecycle.stages import SHOWN, STAGE_SCHEMA, stages
from lifeloop.lifecycle.transitions import transitions
from lifeloop.lifecycle.value import observed_ltv, rfm
from lifeloop.lifecycle.visits import sessions, traffic
from lifeloop.lifecycle.voice import referrals, satisfaction

__all__ = [
    "OVERLAYS",
    "PRODUCT_STAGES",
    "SHOWN",
    "STAGE_SCHEMA",
    "STATES",
    "Options",
    "StageDefinitions",
    "activation",
    "active_day_histogram",
    "active_users",
    "activity_states",
    "churn_rate",
    "conversion",
    "growth_accounting",
    "observable",
    "observed_ltv",
    "orders",
    "referrals",
    "retention",
    "retention_curve",
    "return_rates",
    "rfm",
    "satisfaction",
    "sessions",
    "signup_conversion",
    "stage_counts",
    "stage_of",
    "stages",
    "traffic",
    "transitions",
    "truncation_note",
]
