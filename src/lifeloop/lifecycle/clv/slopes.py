"""Log-likelihoods of purchase histories with their analytic gradients, customer by customer.

N customers, P parameters, J nodes of a quadrature. Letters of the parameters as in ``formulas``.
The gradients are those of the closed forms; of Pareto/NBD the chance of having left is an
integral over the moment of leaving, taken by Gauss-Legendre on a logarithmic scale, so that value
and gradient come from the same nodes and cannot overflow.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, expit, gammaln

from lifeloop.lifecycle.clv import discrete
from lifeloop.lifecycle.clv.formulas import NODES, WEIGHTS, alive_and_gone, pareto_terms
from lifeloop.lifecycle.clv.histories import Histories

Floats = NDArray[np.float64]


def with_slopes(name: str, theta: Floats, h: Histories) -> tuple[Floats, Floats]:
    """Return ln L of each history [N] and its gradient in the parameters [N, P].

    References
    ----------
    fader2005bgnbd, equation 6; batislam2007mbg, equation 5; fader2005pareto, equation 12;
    fader2007covariates, section 2; fader2010bgbb, equation 5.
    """
    if name == "nbd":
        return _nbd(theta, h)
    if name == "bgbb":
        return _mixed(*discrete.with_slopes(theta, h))
    if name == "pareto":
        return pareto(*pareto_terms(name, theta, h), h)
    if name == "pareto_cov":
        return _with_covariates(theta, h)
    r, alpha, a, b = theta
    alive, gone = alive_and_gone(name, theta, h)
    modified = float(name == "mbg")
    x = h.x
    gamma_r = digamma(r + x) - digamma(r) + np.log(alpha)
    size = digamma(a + b) - digamma(a + b + x + modified)
    from_b = size - digamma(b)
    d_alive = np.stack(
        [
            gamma_r - np.log(alpha + h.age),
            r / alpha - (r + x) / (alpha + h.age),
            size,
            from_b + digamma(b + x + modified),
        ],
        axis=1,
    )  # [N, P]
    below = 0.0 if modified else 1 / np.where(x > 0, b + x - 1, np.inf)
    d_gone = np.stack(
        [
            gamma_r - np.log(alpha + h.t_x),
            r / alpha - (r + x) / (alpha + h.t_x),
            size + 1 / a,
            from_b + digamma(b + x) - below,
        ],
        axis=1,
    )  # [N, P]
    return _mixed(alive, gone, d_alive, d_gone)


def pareto(r: float, alpha: Floats, s: float, beta: Floats, h: Histories) -> tuple[Floats, Floats]:
    """Return ln L [N] of Pareto/NBD and its gradient in r, α, s, β [N, 4]; α, β per customer [N].

    L = Γ(r+x)/Γ(r) α^r β^s ((α+T)^-(r+x) (β+T)^-s + s ∫ (α+y)^-(r+x) (β+y)^-(s+1) dy), y from
    t_x to T. With k = r+s+x, c and d the smaller and the larger of α and β, e = s+1 where α is the
    smaller and r+x where β is, and v = k log((c+y)/(c+t_x)), the integral is
    (c+t_x)^-k / k ∫ e^-v ((c+y)/(d+y))^e dv.
    """
    x = h.x
    start = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta)
    at_age, b_age = np.log(alpha + h.age), np.log(beta + h.age)
    alive = start - (r + x) * at_age - s * b_age
    k = r + s + x
    near, far = np.minimum(alpha, beta), np.maximum(alpha, beta)
    power = np.where(alpha <= beta, s + 1, r + x)  # [N] of the ratio (near+y)/(far+y)
    at_last = np.log(near + h.t_x)
    # Beyond 45 decay lengths nothing is left of the integrand, e^-45 of what it was.
    slow = np.where(k > power, 45 * k / np.maximum(k - power, 1e-9), np.inf)
    span = np.minimum(k * (np.log(near + h.age) - at_last), slow)  # [N]
    some = span > 0
    v = span[:, None] * (1 + NODES[None, :]) / 2  # [N, J]
    log_near = at_last[:, None] + v / k[:, None]
    log_far = np.log(np.exp(log_near) + (far - near)[:, None])
    rest = power[:, None] * (log_near - log_far) - v
    peak = rest.max(axis=1)
    mass = WEIGHTS * np.exp(rest - peak[:, None])  # [N, J]
    total = mass.sum(axis=1)
    mass /= total[:, None]
    integral = -k * at_last - np.log(k) + peak + np.log(total / 2)
    integral += np.log(np.where(some, span, 1.0))
    first = (alpha <= beta)[:, None]
    log_ay, log_by = np.where(first, log_near, log_far), np.where(first, log_far, log_near)
    gone = np.where(some, start + np.log(s) + integral, -np.inf)
    gamma_r = digamma(r + x) - digamma(r) + np.log(alpha)
    d_alive = np.stack(
        [
            gamma_r - at_age,
            r / alpha - (r + x) / (alpha + h.age),
            np.log(beta) - b_age,
            s / beta - s / (beta + h.age),
        ],
        axis=1,
    )  # [N, 4]
    d_gone = np.stack(
        [
            gamma_r - (mass * log_ay).sum(axis=1),
            r / alpha - (r + x) * (mass * np.exp(-log_ay)).sum(axis=1),
            np.log(beta) + 1 / s - (mass * log_by).sum(axis=1),
            s / beta - (s + 1) * (mass * np.exp(-log_by)).sum(axis=1),
        ],
        axis=1,
    )  # [N, 4]
    return _mixed(alive, gone, d_alive, d_gone)


def _with_covariates(theta: Floats, h: Histories) -> tuple[Floats, Floats]:
    r, alpha, s, beta = pareto_terms("pareto_cov", theta, h)
    value, own = pareto(r, alpha, s, beta, h)  # [N], [N, 4]
    z = h.covariates()  # [N, Q]
    # α_i = α exp(-g'z): d/dα = α_i/α, d/dg = -α_i z; the same of β
    d_alpha, d_beta = own[:, 1] * alpha, own[:, 3] * beta
    slopes = np.column_stack(
        [
            own[:, 0], d_alpha / theta[1], own[:, 2], d_beta / theta[3],
            -d_alpha[:, None] * z, -d_beta[:, None] * z,
        ]
    )  # fmt: skip
    return value, slopes  # [N, 4 + 2 Q]


def _nbd(theta: Floats, h: Histories) -> tuple[Floats, Floats]:
    r, alpha = theta
    value = gammaln(r + h.x) - gammaln(r) + r * np.log(alpha)
    value = value - (r + h.x) * np.log(alpha + h.age)
    slopes = np.stack(
        [
            digamma(r + h.x) - digamma(r) + np.log(alpha) - np.log(alpha + h.age),
            r / alpha - (r + h.x) / (alpha + h.age),
        ],
        axis=1,
    )
    return value, slopes


def _mixed(alive: Floats, gone: Floats, d_alive: Floats, d_gone: Floats) -> tuple[Floats, Floats]:
    share = expit(alive - gone)[:, None]  # [N, 1] P(alive)
    # 0 · anything is 0: the gradient of an impossible branch may be infinite
    left = np.where(share < 1, d_gone, 0.0)
    return np.logaddexp(alive, gone), share * d_alive + (1 - share) * left
