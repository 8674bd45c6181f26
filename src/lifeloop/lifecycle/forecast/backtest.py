"""How far off the forecast of daily active users was, beside last week's numbers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifeloop.errors import InputError
from lifeloop.lifecycle.activity import STATES
from lifeloop.lifecycle.forecast.arrivals import SEASON, new_users_forecast
from lifeloop.lifecycle.forecast.moves import MoveModel
from lifeloop.lifecycle.forecast.project import project

Floats = NDArray[np.float64]

ACTIVE = tuple(STATES.index(s) for s in ("new", "current", "reactivated", "resurrected"))


@dataclass(frozen=True)
class Backtest:
    """Mean absolute percentage error of daily active users over ``days``, and of the floor."""

    days: int
    mape: float
    mape_seasonal_naive: float


def backtest(daily: Floats, *, moves: MoveModel, horizon: int) -> Backtest:
    """Forecast the last ``horizon`` days of ``daily`` from those before.

    Parameters
    ----------
    daily : array [D, S]
        Users per day and state, in the order of ``STATES``.
    moves : MoveModel
        Fitted on the first D - ``horizon`` days only; the caller sees to that.
    horizon : int
        Days held out.

    Raises
    ------
    InputError
        Too few days before the held-out ones, or a held-out day without an active user.
    """
    if horizon < 1 or len(daily) - horizon < SEASON:
        raise InputError(
            "too few days to test a forecast on",
            got=(len(daily), horizon),
            allowed="a horizon of 1 or more and a week before it",
        )
    known, held_out = daily[:-horizon], daily[-horizon:]
    arrivals = new_users_forecast(known[:, STATES.index("new")], horizon=horizon)
    said = project(known[-1], matrix=moves.matrix, arrivals=arrivals)[:, ACTIVE].sum(axis=1)
    truth = held_out[:, ACTIVE].sum(axis=1)  # [H]
    if (truth <= 0).any():
        raise InputError("a held-out day has no active user, so no percentage error exists")
    naive = np.resize(known[-SEASON:, ACTIVE].sum(axis=1), horizon)
    off, floor = (float((np.abs(guess - truth) / truth).mean()) for guess in (said, naive))
    return Backtest(horizon, off, floor)
