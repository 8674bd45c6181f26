"""New users to come: the mean of the same weekday, never below zero."""

import numpy as np
from numpy.typing import NDArray

from lifeloop.errors import InputError

Floats = NDArray[np.float64]

SEASON, SEASONS = 7, 4


def new_users_forecast(daily: Floats, *, horizon: int) -> Floats:
    """Return new users per day for ``horizon`` days after ``daily``, [H].

    The mean over the same weekday of the last four weeks; means of counts have the floor 0.

    Raises
    ------
    InputError
        Less than one week, negative or not finite counts, or a horizon below 1.
    """
    if len(daily) < SEASON or not np.isfinite(daily).all() or (daily < 0).any():
        raise InputError(
            "new users per day cannot be forecast",
            got=f"{len(daily)} days",
            allowed="at least 7 days of finite counts of 0 or more",
        )
    if horizon < 1:
        raise InputError("a horizon is a number of days", got=horizon, allowed="1 or more")
    weeks = min(SEASONS, len(daily) // SEASON)
    by_weekday = daily[-weeks * SEASON :].reshape(weeks, SEASON).mean(axis=0)  # [7]
    return np.asarray(np.resize(by_weekday, horizon), np.float64)
