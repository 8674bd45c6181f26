"""Likelihoods and expectations of NBD, BG/NBD, MBG/NBD, Pareto/NBD and BG/BB, in log space.

Letters as in the sources: purchases come at a gamma(r, α) rate; a customer leaves after a purchase
with a beta(a, b) probability (BG, MBG), at a gamma(s, β) rate (Pareto), or never (NBD).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, expit, gammaln, hyp2f1

from lifeloop.lifecycle.clv import discrete
from lifeloop.lifecycle.clv.histories import DAYS_PER, Histories
from lifeloop.lifecycle.clv.pareto import NODES, PARETO, WEIGHTS, closed_form, pareto_terms

Floats = NDArray[np.float64]


def alive_and_gone(name: str, theta: Floats, h: Histories) -> tuple[Floats, Floats]:
    """Return ln L(history, still alive) and ln L(history, gone), each [N].

    References
    ----------
    fader2005bgnbd, equation 6; batislam2007mbg, equation 5; fader2005pareto, equations 15-17;
    fader2007covariates, section 2; fader2010bgbb, equation 5.
    """
    if name in PARETO:
        return closed_form(*pareto_terms(name, theta, h), h)
    if name == "bgbb":
        return discrete.alive_and_gone(theta, h)
    if name == "nbd":
        r, alpha = theta
        stays = gammaln(r + h.x) - gammaln(r) + r * np.log(alpha)
        return stays - (r + h.x) * np.log(alpha + h.age), np.full(len(h.x), -np.inf)
    r, alpha, a, b = theta
    x = h.x
    common = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + gammaln(a + b) - gammaln(b)
    at_age, at_last = (r + x) * np.log(alpha + h.age), (r + x) * np.log(alpha + h.t_x)
    if name == "mbg":
        rest = common - gammaln(a + b + x + 1)
        alive = rest + gammaln(b + x + 1) - at_age
        return alive, rest + np.log(a) + gammaln(b + x) - at_last
    rest = common - gammaln(a + b + x)
    alive = rest + gammaln(b + x) - at_age
    # b + x - 1 is read only where x > 0: a customer without a repeat cannot have left
    below = np.log(np.where(x > 0, b + x - 1, 1.0))
    gone = rest + gammaln(b + x) + np.log(a) - below - at_last
    return alive, np.where(x > 0, gone, -np.inf)


def p_alive(name: str, theta: Floats, h: Histories) -> Floats:
    """Return P(alive at the end of each history), [N], in 0 to 1."""
    alive, gone = alive_and_gone(name, theta, h)
    return np.asarray(expit(alive - gone), np.float64)


def expected_repeats(name: str, theta: Floats, t: Floats, *, unit: str) -> Floats:
    """Return E[X(t)]: repeat purchases of a new customer in ``t`` units, same shape.

    With covariates, of a customer whose covariates are all 0.

    References
    ----------
    fader2005bgnbd, equation 9; fader2005pareto, equation 24; fader2010bgbb, equation 8.
    """
    r, alpha = theta[:2]
    if name == "bgbb":
        none = np.zeros_like(t)
        return discrete.purchases_ahead(theta, none, none, t * DAYS_PER[unit])
    if name == "nbd":
        return np.asarray(r / alpha * t, np.float64)
    if name in PARETO:
        return _pareto_purchases(r, alpha, theta[2], theta[3], t)
    a, b = theta[2:]
    if name == "mbg":
        return np.asarray(b / (a + b) * _bg_purchases(r, alpha, a, b + 1, t), np.float64)
    return _bg_purchases(r, alpha, a, b, t)


def expected_next(name: str, theta: Floats, h: Histories, t: float) -> Floats:
    """Return E[purchases in the next ``t`` | history], [N].

    References
    ----------
    fader2005bgnbd, equation 10; fader2005pareto, equation 28; fader2010bgbb, equation 13.
    """
    if name == "bgbb":
        x, _, n = discrete.opportunities(h)
        ahead = discrete.purchases_ahead(theta, x, n, t * DAYS_PER[h.unit])
        return np.asarray(p_alive(name, theta, h) * ahead, np.float64)
    if name in PARETO:
        rate, per, leave, stay = pareto_terms(name, theta, h)
        later = _pareto_purchases(rate + h.x, per + h.age, leave, stay + h.age, t)
        return np.asarray(p_alive(name, theta, h) * later, np.float64)
    r, alpha = theta[0] + h.x, theta[1] + h.age
    if name == "nbd":
        return np.asarray(r / alpha * t, np.float64)
    b = theta[3] + h.x + (name == "mbg")
    return p_alive(name, theta, h) * _bg_purchases(r, alpha, theta[2], b, t)


def _bg_purchases(
    r: Floats | float, alpha: Floats | float, a: float, b: Floats | float, t: Floats | float
) -> Floats:
    # E[(1 - (alpha / (alpha + p t))^r) / p] over p ~ beta(a, b), for one who is alive
    if abs(a - 1) < 1e-6:  # the closed form is 0/0 at a = 1 and continuous there
        a = 1 + 1e-6
    z, c = t / (alpha + t), a + b - 1
    with np.errstate(all="ignore"):  # 0 · inf far out, where another way round is taken
        out = np.asarray(c / (a - 1) * (1 - (1 - z) ** r * hyp2f1(r, b, c, z)), np.float64)
        if not np.isfinite(out).all():  # many purchases: Euler's transformation of the series
            other = c / (a - 1) * (1 - (1 - z) ** (a - 1) * hyp2f1(c - r, a - 1, c, z))
            out = np.where(np.isfinite(out), out, other)
        if not np.isfinite(out).all():  # large a and b: all leave alike, p varies little
            out = np.where(np.isfinite(out), out, _by_quadrature(r, alpha, a, b, t))
    return np.asarray(out, np.float64)


def _by_quadrature(
    r: Floats | float, alpha: Floats | float, a: float, b: Floats | float, t: Floats | float
) -> Floats:
    r, alpha, b, t = (np.asarray(v, np.float64)[..., None] for v in (r, alpha, b, t))
    p = np.maximum(betaincinv(a, b, (NODES + 1) / 2), 1e-300)  # [..., J]
    return np.asarray((-np.expm1(-r * np.log1p(p * t / alpha)) / p) @ WEIGHTS / 2, np.float64)


def _pareto_purchases(
    r: Floats | float,
    alpha: Floats | float,
    s: float,
    beta: Floats | float,
    t: Floats | float,
) -> Floats:
    if abs(s - 1) < 1e-9:
        s = 1 + 1e-9
    power = (1 - s) * (np.log(beta + t) - np.log(beta))
    near = beta * np.expm1(np.minimum(power, 1.0))
    far = np.exp(np.log(beta) + power) - beta  # the same, for a β that is next to nothing
    lived = np.where(power < 1.0, near, far)
    return np.asarray(r / (alpha * (1 - s)) * lived, np.float64)
