"""What a user of each state is worth from today on, under today's policy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifeloop.errors import InputError
from lifeloop.lifecycle.activity import STATES
from lifeloop.lifecycle.forecast.moves import POSSIBLE, MoveModel

Floats = NDArray[np.float64]

CAVEAT = (
    "This is the value of users who move by themselves under today's policy. "
    "It is not the effect of moving someone: only an experiment shows that."
)


@dataclass(frozen=True, eq=False)
class StageWorth:
    """Value per state and its 95% interval, [S]; the best move as (from, to, gain)."""

    value: Floats
    low: Floats
    high: Floats
    best_move: tuple[str, str, float]
    caveat: str = CAVEAT


def stage_worth(
    moves: MoveModel, *, reward: Floats, gamma: float, rng: np.random.Generator, n: int = 500
) -> StageWorth:
    """Return V = Σ γᵗ Mᵗ r = (1 - γ M)⁻¹ r for each state.

    Parameters
    ----------
    moves : MoveModel
        Daily moves.
    reward : array [S]
        Money per user and day in each state, in the order of ``STATES``; taken as known.
    gamma : float
        Discount per day, at least 0 and below 1.

    Raises
    ------
    InputError
        A discount outside its range, or rewards that are not one finite number per state.

    References
    ----------
    puterman1994, equation 6.1.5.
    """
    if not 0 <= gamma < 1:
        raise InputError("the sum has no end", got=gamma, allowed="0 <= gamma < 1")
    if reward.shape != (len(STATES),) or not np.isfinite(reward).all():
        raise InputError("reward must be one finite number per state", got=reward.tolist())
    value = _solved(moves.matrix, reward, gamma)
    drawn = np.array([_solved(moves.draw(rng), reward, gamma) for _ in range(n)])  # [n, S]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    gains = [
        (at, to, float(value[STATES.index(to)] - value[STATES.index(at)]))
        for at, ways in POSSIBLE.items()
        for to in ways
        if to != at
    ]
    return StageWorth(value, low, high, max(gains, key=lambda gain: gain[2]))


def _solved(matrix: Floats, reward: Floats, gamma: float) -> Floats:
    return np.asarray(np.linalg.solve(np.eye(len(matrix)) - gamma * matrix, reward), np.float64)
