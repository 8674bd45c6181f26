"""Pareto/NBD: parameters of each customer, and its likelihood in closed form and by quadrature.

The closed form is exact and has no gradient of its own. The chance of having left is an integral
over the moment of leaving; Gauss-Legendre on a logarithmic scale gives its value and its gradient
from the same nodes and cannot overflow. N customers, J nodes, Q covariates.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln, hyp2f1

from lifeloop.lifecycle.clv.histories import Histories

Floats = NDArray[np.float64]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(48)
PARETO = ("pareto", "pareto_cov")


def pareto_terms(name: str, theta: Floats, h: Histories) -> tuple[float, Floats, float, Floats]:
    """Return r, α of each customer [N], s, β of each customer [N].

    With covariates z, α_i = α exp(-g_1'z_i) and β_i = β exp(-g_2'z_i): a positive g_1 buys more
    often, a positive g_2 leaves sooner.

    References
    ----------
    fader2007covariates, section 2.
    """
    r, alpha, s, beta = theta[:4]
    n = len(h.x)
    if name == "pareto":
        return float(r), np.full(n, alpha), float(s), np.full(n, beta)
    z = h.covariates()  # [N, Q]
    buys, leaves = np.split(theta[4:], 2)
    return float(r), alpha * np.exp(-z @ buys), float(s), beta * np.exp(-z @ leaves)


def closed_form(
    r: float, alpha: Floats, s: float, beta: Floats, h: Histories
) -> tuple[Floats, Floats]:
    """Return ln L(history, still alive) and ln L(history, gone), each [N]; α, β per customer [N].

    References
    ----------
    fader2005pareto, equations 15-17.
    """
    k = r + s + h.x
    start = gammaln(r + h.x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta)
    alive = start - (r + h.x) * np.log(alpha + h.age) - s * np.log(beta + h.age)
    low, top = np.minimum(alpha, beta), np.maximum(alpha, beta)
    second = np.where(alpha >= beta, s + 1, r + h.x)

    def term(at: Floats) -> Floats:
        # hyp2f1(k, m; k+1; z) = (1-z)^(1-m) hyp2f1(1, k+1-m; k+1; z), which cannot overflow
        rest = (low + at) / (top + at)
        series = hyp2f1(1.0, k + 1 - second, k + 1, 1 - rest)
        return np.asarray(
            np.log(series) + (1 - second) * np.log(rest) - k * np.log(top + at), np.float64
        )

    with np.errstate(all="ignore"):  # α and β so far apart that 1 - z is lost: by quadrature
        last, age = term(h.t_x), term(h.age)
        apart = np.minimum(age - last, 0.0)
        some = apart < 0
        gap = np.log(-np.expm1(np.where(some, apart, -1.0)))
        gone = start + np.log(s) - np.log(k) + last + gap
    sure = np.isfinite(last) & np.isfinite(age)
    if not sure.all():
        at = np.flatnonzero(~sure)
        gone[at] = by_quadrature(r, alpha[at], s, beta[at], h.rows(at))[1]
        some[at] = h.age[at] > h.t_x[at]
    return alive, np.where(some, gone, -np.inf)


def by_quadrature(
    r: float, alpha: Floats, s: float, beta: Floats, h: Histories
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return ln L alive and gone [N], and their gradients in r, α, s, β [N, 4]; α, β [N].

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
    return alive, gone, d_alive, d_gone
