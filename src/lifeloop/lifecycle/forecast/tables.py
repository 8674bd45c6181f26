"""The forecast and its back-test as tables of the lifecycle."""

from typing import Unpack

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.errors import Unfit
from lifeloop.lifecycle.definitions import StageDefinitions
from lifeloop.lifecycle.forecast.flows import (
    NAMES,
    Flows,
    Of,
    flows_of,
    forecastable,
    members_now,
    stretches_of,
)
from lifeloop.lifecycle.forecast.weekly import (
    active_error,
    ahead,
    blended,
    same_weekdays,
)
from lifeloop.lifecycle.frame import Events
from lifeloop.lifecycle.options import Options
from lifeloop.lifecycle.stages import dates_of

Floats = NDArray[np.float64]

SEED = 20_250_102
HISTORY = 56
"""Days of the past that the table shows before the days to come."""


def forecast(
    events: Events,
    *,
    definitions: StageDefinitions,
    of: Of = "states",
    horizon_days: int = 28,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return the users of each state on the last days and on the days to come, with intervals.

    See ``forecast.weekly.ahead`` for how; the last day of the log may be incomplete, and the
    forecast starts from what it shows.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``, for stages also ``order_id`` and ``value``.
    definitions : StageDefinitions
        The rules of the stages, and the burn-in.
    of : "states" | "stages"
        The seven activity states, or what is shown of the product stages.
    horizon_days : int
        Days ahead, no more than the log has.
    members : bool
        Return where every user is now: user_id, state.
    **options
        See ``Options``; ``start`` and ``grain`` have no effect, and with ``by`` every segment is
        forecast by itself.

    Returns
    -------
    polars.DataFrame
        (``by``,) date, state, users, users_low, users_high (null in the past), forecast (bool).

    Raises
    ------
    Unfit
        A log too short for it.
    """
    view, stretches = stretches_of(events, of, definitions, options)
    if members:
        return members_now(view, stretches)
    groups = stretches.group_by(view.by, maintain_order=True) if view.by else [((), stretches)]
    parts, faults = [], []
    for key, rows in groups:
        flows = flows_of(rows, NAMES[of], last=view.log.last_day)
        try:
            forecastable(flows, horizon=horizon_days)
        except Unfit as fault:
            faults.append(fault)
            continue
        named = [
            pl.lit(value, dtype=pl.String).alias(name)
            for name, value in zip(view.by, key, strict=True)
        ]
        parts.append(_rows(flows, horizon_days).select(*named, pl.all()))
    if not parts:
        raise faults[0]
    return pl.concat(parts).sort(*view.by, "date", maintain_order=True)


def forecast_backtest(
    events: Events,
    *,
    definitions: StageDefinitions,
    of: Of = "states",
    horizon_days: int = 28,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return how far off the forecast was when the newest days were hidden, beside simpler ones.

    Of states the error is that of daily active users, of stages the mean over the stages.
    ``seasonal_naive`` repeats the last week, ``month_mean`` the mean of four weeks; ``moves`` is
    the projection alone. The last day is left out: it may be incomplete.

    Returns
    -------
    polars.DataFrame
        model, from, to (dates hidden), days, mape, coverage (share of the true numbers within the
        95% interval; null where there is none), weight (of what the weekdays were).
    """
    view, stretches = stretches_of(events, of, definitions, options)
    if members:
        return members_now(view, stretches)
    flows = flows_of(stretches, NAMES[of], last=view.log.last_day - 1)
    forecastable(flows, horizon=horizon_days)
    known = len(flows.counts) - horizon_days
    past = flows.until(known)
    forecastable(past, horizon=horizon_days)
    truth = flows.counts[known:]
    made = ahead(past, horizon=horizon_days, rng=np.random.default_rng(SEED))
    inside = (made.fan.low <= truth) & (truth <= made.fan.high)
    said = {
        "lifeloop": made.fan.mean,
        "moves": blended(past, horizon_days, base=made.base, weight=0.0),
        "seasonal_naive": same_weekdays(past, horizon_days, "last_week"),
        "month_mean": same_weekdays(past, horizon_days, "month_mean"),
    }
    errors = [active_error(flows, guess, truth) for guess in said.values()]
    if not np.isfinite(errors).all():
        raise Unfit("nobody was active on the hidden days, so no percentage error exists")
    first = flows.first + known
    n = len(said)
    return pl.DataFrame(
        {
            "model": list(said),
            "from": dates_of(np.full(n, first)),
            "to": dates_of(np.full(n, first + horizon_days - 1)),
            "days": np.full(n, horizon_days),
            "mape": errors,
            "coverage": [float(inside.mean()), None, None, None],
            "weight": [made.weight, 0.0, 1.0, 1.0],
        }
    )


def _rows(flows: Flows, horizon: int) -> pl.DataFrame:
    made = ahead(flows, horizon=horizon, rng=np.random.default_rng(SEED)).fan
    shown = min(HISTORY, len(flows.counts))
    size = len(flows.names)
    days = np.arange(len(flows.counts) - shown, len(flows.counts) + horizon) + flows.first
    empty = np.full(shown * size, np.nan)
    return pl.DataFrame(
        {
            "date": dates_of(np.repeat(days, size)),
            "state": list(flows.names) * len(days),
            "users": np.append(flows.counts[-shown:].ravel(), made.mean.ravel()),
            "users_low": np.append(empty, made.low.ravel()),
            "users_high": np.append(empty, made.high.ravel()),
            "forecast": np.repeat(days >= flows.first + len(flows.counts), size),
        }
    ).with_columns(pl.col("users_low", "users_high").fill_nan(None))
