"""What a customer may do next, drawn from the fitted models: for intervals of single customers.

N customers, D draws.
"""

import numpy as np
from numpy.typing import NDArray

from lifeloop.lifecycle.clv.discrete import opportunities
from lifeloop.lifecycle.clv.histories import DAYS_PER, Histories
from lifeloop.lifecycle.clv.pareto import PARETO, pareto_terms
from lifeloop.lifecycle.clv.purchases import PurchaseModel

Floats = NDArray[np.float64]


def purchases_drawn(
    model: PurchaseModel, h: Histories, *, t: float, rng: np.random.Generator, n: int
) -> NDArray[np.int64]:
    """Return ``n`` futures of each customer: purchases in the next ``t``, [N, D].

    Given the history and being alive, the rate of purchases is gamma(r + x, α + T), and the chance
    of leaving after one is beta(a, b + x) (BG; b + x + 1 for MBG), or the rate of leaving is
    gamma(s, β + T) (Pareto); of BG/BB the chances of a purchase and of leaving on a day are
    beta(α + x, β + n - x) and beta(γ, δ + n). Parameters are taken as estimated.

    References
    ----------
    fader2005bgnbd, section 4; fader2005pareto, section 6; fader2010bgbb, section 3.
    """
    theta = model.estimate.values
    shape = (len(h.x), n)
    alive = rng.random(shape) < model.p_alive(h)[:, None]
    if model.name == "bgbb":
        return np.where(alive, _discrete(theta, h, t, rng, shape), 0)
    if model.name in PARETO:
        r, alpha, s, beta = pareto_terms(model.name, theta, h)
        rate = rng.gamma(r + h.x[:, None], 1.0, shape) / (alpha + h.age)[:, None]
        leaving = rng.gamma(s, 1.0, shape) / (beta + h.age)[:, None]
        lived = np.minimum(rng.exponential(1.0, shape) / np.maximum(leaving, 1e-300), t)
        return np.where(alive, rng.poisson(rate * lived), 0)
    rate = rng.gamma(theta[0] + h.x[:, None], 1.0, shape) / (theta[1] + h.age[:, None])
    if model.name == "nbd":
        return np.asarray(rng.poisson(rate * t), np.int64)
    a, b = theta[2:]
    leaves = rng.beta(a, b + h.x[:, None] + (model.name == "mbg"), shape)
    last = rng.geometric(np.clip(leaves, 1e-12, 1.0))
    return np.where(alive, np.minimum(rng.poisson(rate * t), last), 0)


def _discrete(
    theta: Floats, h: Histories, t: float, rng: np.random.Generator, shape: tuple[int, int]
) -> NDArray[np.int64]:
    alpha, beta, gamma, delta = theta
    x, _, n = opportunities(h)
    buys = rng.beta((alpha + x)[:, None], (beta + n - x)[:, None], shape)
    leaves = rng.beta(gamma, (delta + n)[:, None], shape)
    days = round(t * DAYS_PER[h.unit])
    # before each day it is decided whether to leave: the first such day is the first without
    lived = np.minimum(rng.geometric(np.clip(leaves, 1e-12, 1.0)) - 1, days)
    return np.asarray(rng.binomial(lived, np.clip(buys, 0.0, 1.0)), np.int64)
