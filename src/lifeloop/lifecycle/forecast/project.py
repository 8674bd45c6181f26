"""Users per state on the days to come; nobody is lost or made on the way."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifeloop.errors import InputError
from lifeloop.lifecycle.activity import STATES
from lifeloop.lifecycle.forecast.moves import MoveModel

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fan:
    """Expected users per day and state and their 95% interval, each [H, S]."""

    mean: Floats
    low: Floats
    high: Floats


def project(start: Floats, *, matrix: Floats, arrivals: Floats) -> Floats:
    """Return expected users per state after 1 … H days, [H, S].

    n(t + 1) = n(t) M + new(t + 1) in the state ``new``; people are never rounded inside.

    Parameters
    ----------
    start : array [S]
        Users per state today, in the order of ``STATES``.
    matrix : array [S, S]
        Chances by row.
    arrivals : array [H]
        New users per day.

    Raises
    ------
    InputError
        Negative or not finite users, or rows that do not sum to 1.
    """
    _check(start, matrix, arrivals)
    out = np.empty((len(arrivals), len(STATES)))  # [H, S]
    now = start
    for t, new in enumerate(arrivals):
        now = now @ matrix
        now[STATES.index("new")] += new
        out[t] = now
    return out


def fan(
    start: NDArray[np.int64],
    *,
    moves: MoveModel,
    arrivals: Floats,
    rng: np.random.Generator,
    n: int = 500,
) -> Fan:
    """Return the projection with an interval by parametric bootstrap.

    Each of ``n`` futures draws a matrix, then moves whole users by chance, with Poisson arrivals.
    """
    mean = project(start.astype(np.float64), matrix=moves.matrix, arrivals=arrivals)
    futures = np.empty((n, *mean.shape))  # [n, H, S]
    for future in futures:
        matrix, now = moves.draw(rng), start
        for t, new in enumerate(rng.poisson(arrivals)):
            now = rng.multinomial(now, matrix).sum(axis=0)  # [S]
            now[STATES.index("new")] += new
            future[t] = now
    low, high = np.quantile(futures, [0.025, 0.975], axis=0)
    return Fan(mean, low, high)


def _check(start: Floats, matrix: Floats, arrivals: Floats) -> None:
    for name, values in (("users per state", start), ("new users", arrivals)):
        if not np.isfinite(values).all() or (values < 0).any():
            raise InputError(f"{name} must be finite and at least 0", got=values.tolist())
    if start.shape != (len(STATES),) or matrix.shape != (len(STATES), len(STATES)):
        raise InputError(
            "users and chances need one entry per state", got=(start.shape, matrix.shape)
        )
    if (matrix < 0).any() or not np.allclose(matrix.sum(axis=1), 1, atol=1e-9):
        raise InputError("rows of chances must sum to 1", got=matrix.sum(axis=1).tolist())
