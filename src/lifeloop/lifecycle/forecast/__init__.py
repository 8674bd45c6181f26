"""Where users are going: moves between activity states, projected, and what a state is worth."""

from lifeloop.lifecycle.forecast.arrivals import new_users_forecast
from lifeloop.lifecycle.forecast.backtest import Backtest, backtest
from lifeloop.lifecycle.forecast.moves import POSSIBLE, MoveModel, fit_moves
from lifeloop.lifecycle.forecast.project import Fan, fan, project
from lifeloop.lifecycle.forecast.worth import CAVEAT, StageWorth, stage_worth

__all__ = [
    "CAVEAT",
    "POSSIBLE",
    "Backtest",
    "Fan",
    "MoveModel",
    "StageWorth",
    "backtest",
    "fan",
    "fit_moves",
    "new_users_forecast",
    "project",
    "stage_worth",
]
