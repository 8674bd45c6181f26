"""Where users are going: moves by weekday, projected, and what a stage is worth."""

from lifeloop.lifecycle.forecast.arrivals import new_users_forecast
from lifeloop.lifecycle.forecast.flows import Flows, flows_of
from lifeloop.lifecycle.forecast.values import summed_value
from lifeloop.lifecycle.forecast.weekly import POSSIBLE, Ahead, Fan, Weekly, ahead, fit_weekly
from lifeloop.lifecycle.forecast.widths import error_widths, widened

__all__ = [
    "POSSIBLE",
    "Ahead",
    "Fan",
    "Flows",
    "Weekly",
    "ahead",
    "error_widths",
    "fit_weekly",
    "flows_of",
    "new_users_forecast",
    "summed_value",
    "widened",
]
