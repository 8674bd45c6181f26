"""Log-likelihoods of purchase histories with their analytic gradients, customer by customer.

N customers, P parameters, J nodes of a quadrature. Letters of the parameters as in ``formulas``.
The gradients are those of the closed forms; of Pareto/NBD see ``pareto.by_quadrature``.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, expit, gammaln

from lifeloop.lifecycle.clv import discrete
from lifeloop.lifecycle.clv.formulas import alive_and_gone
from lifeloop.lifecycle.clv.histories import Histories
from lifeloop.lifecycle.clv.pareto import by_quadrature, pareto_terms

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
        return _mixed(*by_quadrature(*pareto_terms(name, theta, h), h))
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


def _with_covariates(theta: Floats, h: Histories) -> tuple[Floats, Floats]:
    r, alpha, s, beta = pareto_terms("pareto_cov", theta, h)
    value, own = _mixed(*by_quadrature(r, alpha, s, beta, h))  # [N], [N, 4]
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
