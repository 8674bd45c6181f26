"""What a customer may do next, drawn from the fitted models: for intervals of single customers.

N customers, D draws.
"""

import numpy as np
from numpy.typing import NDArray

from lifeloop.lifecycle.clv.histories import Histories
from lifeloop.lifecycle.clv.purchases import PurchaseModel

Floats = NDArray[np.float64]


def purchases_drawn(
    model: PurchaseModel, h: Histories, *, t: float, rng: np.random.Generator, n: int
) -> NDArray[np.int64]:
    """Return ``n`` futures of each customer: purchases in the next ``t``, [N, D].

    Given the history and being alive, the rate of purchases is gamma(r + x, α + T), and the chance
    of leaving after one is beta(a, b + x) (BG; b + x + 1 for MBG), or the rate of leaving is
    gamma(s, β + T) (Pareto). Parameters are taken as estimated.

    References
    ----------
    fader2005bgnbd, section 4; fader2005pareto, section 6.
    """
    theta = model.estimate.values
    shape = (len(h.x), n)
    alive = rng.random(shape) < model.p_alive(h)[:, None]
    rate = rng.gamma(theta[0] + h.x[:, None], 1.0, shape) / (theta[1] + h.age[:, None])
    if model.name == "nbd":
        return np.asarray(rng.poisson(rate * t), np.int64)
    if model.name == "pareto":
        s, beta = theta[2:]
        leaving = rng.gamma(s, 1.0, shape) / (beta + h.age[:, None])
        lived = np.minimum(rng.exponential(1.0, shape) / np.maximum(leaving, 1e-300), t)
        return np.where(alive, rng.poisson(rate * lived), 0)
    a, b = theta[2:]
    leaves = rng.beta(a, b + h.x[:, None] + (model.name == "mbg"), shape)
    last = rng.geometric(np.clip(leaves, 1e-12, 1.0))
    return np.where(alive, np.minimum(rng.poisson(rate * t), last), 0)
