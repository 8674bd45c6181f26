"""How far off forecasts of the same length were, from earlier days: the width of the band.

H days ahead, S states, K earlier origins.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from lifeloop.lifecycle.forecast.arrivals import SEASON
from lifeloop.lifecycle.forecast.flows import Flows

Floats = NDArray[np.float64]

ORIGINS = 16
"""Earlier days, a week apart, from which the forecast is made again."""

FEW = 5
"""Below this many origins the days of a week share one width."""

LEAST_KNOWN = 3 * SEASON


def error_widths(
    flows: Flows, horizon: int, forecast: Callable[[Flows], Floats]
) -> tuple[Floats, int]:
    """Return half the 95% width of ln(true users / forecast users), [H, S], and K.

    The forecast is made from up to ``ORIGINS`` earlier days with what was known then, and
    compared with what came. The width is the root mean square of ln((true + ½)/(forecast + ½)),
    per state and day ahead and never falling from one week to the same weekday of the next,
    times the quantile of Student's t. Errors of origins less than the horizon apart go
    together, so that the degrees of freedom are the horizons that fit into the days compared,
    not the origins. The ½ keeps empty states finite. With no earlier day to start from the
    width is 0 and K is 0.

    Parameters
    ----------
    flows : Flows
        Everything known.
    horizon : int
        Days ahead.
    forecast : callable
        From what is known to users per day and state, [H, S].

    References
    ----------
    tashman2000.
    """
    days = len(flows.counts)
    squares: list[Floats] = []
    for k in range(ORIGINS):
        known = days - horizon - k * SEASON
        if known < max(LEAST_KNOWN, horizon):
            break
        said, truth = forecast(flows.until(known)), flows.counts[known : known + horizon]
        squares.append(np.log((truth + 0.5) / (said + 0.5)) ** 2)
    if not squares:
        return np.zeros((horizon, len(flows.names))), 0
    mean = np.mean(squares, axis=0)  # [H, S]
    weeks, weekday = np.divmod(np.arange(horizon), SEASON)
    if len(squares) < FEW:  # too few to tell weekdays apart: the mean of each week ahead
        mean = np.stack([mean[weeks == w].mean(axis=0) for w in range(int(weeks[-1]) + 1)])[weeks]
    for day in range(SEASON):
        mean[weekday == day] = np.maximum.accumulate(mean[weekday == day], axis=0)
    rms = np.sqrt(mean)
    compared = horizon + (len(squares) - 1) * SEASON
    freedom = max(1, compared // horizon)
    return np.asarray(rms * stdtrit(freedom, 0.975), np.float64), len(squares)


def widened(mean: Floats, low: Floats, high: Floats, widths: Floats) -> tuple[Floats, Floats]:
    """Return the band that holds both ``low`` to ``high`` and the mean e^±width, [H, S] each."""
    below = np.maximum((mean + 0.5) * np.exp(-widths) - 0.5, 0.0)
    above = (mean + 0.5) * np.exp(widths) - 0.5
    return np.minimum(low, below), np.maximum(high, above)
