"""BG/BB: purchases at discrete opportunities, here the days after the first purchase.

A customer who is alive buys on a day with a beta(α, β) chance and leaves before a day with a
beta(γ, δ) chance. It bears what the continuous models cannot: customers who buy on most days.
K distinct histories, U distinct counts of purchases, M opportunities.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, digamma, gammaln

from lifeloop.errors import Unfit
from lifeloop.lifecycle.clv.histories import DAYS_PER, Histories

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


MOST_DAYS = 4_000
"""Days watched beyond which single days are no longer counted one by one."""


def opportunities(h: Histories) -> tuple[Ints, Ints, Ints]:
    """Return repeats, day of the last and days watched, each [N] of integers.

    Raises
    ------
    Unfit
        More repeats than days up to the last of them, or more than ``MOST_DAYS`` watched.
    """
    x = h.x.astype(np.int64)
    last, n = (np.rint(t * DAYS_PER[h.unit]).astype(np.int64) for t in (h.t_x, h.age))
    if n.max() > MOST_DAYS:
        raise Unfit(
            "BG/BB counts days one by one, and these histories are too long for that",
            got=f"{n.max():,} days",
            allowed=f"at most {MOST_DAYS:,}",
            hint="use the pareto model, which is the same in continuous time",
        )
    more = x > last
    if more.any():
        at = int(np.flatnonzero(more)[0])
        raise Unfit(
            "BG/BB knows at most one purchase a day",
            got=f"row {at}: {x[at]} repeats in {last[at]} days ({int(more.sum())} rows)",
            hint="count distinct days, as histories_of does, or use another model",
        )
    return x, last, n


def alive_and_gone(theta: Floats, h: Histories) -> tuple[Floats, Floats]:
    """Return ln L(history, still alive after it) and ln L(history, gone), each [N].

    L = B(α+x, β+n-x)/B(α, β) · B(γ, δ+n)/B(γ, δ) + Σ_m B(α+x, β+m-x)/B(α, β) · B(γ+1, δ+m)/B(γ, δ),
    m = t_x … n - 1.

    References
    ----------
    fader2010bgbb, equation 5.
    """
    x, last, n = opportunities(h)
    alpha, beta, gamma, delta = theta
    alive = betaln(alpha + x, beta + n - x) - betaln(alpha, beta)
    alive += betaln(gamma, delta + n) - betaln(gamma, delta)
    kinds, row = np.unique(x, return_inverse=True)
    tail = np.logaddexp.accumulate(_terms(theta, kinds, int(n.max()))[:, ::-1], axis=1)[:, ::-1]
    return alive, _between(tail[row, last], tail[row, n])


def with_slopes(theta: Floats, h: Histories) -> tuple[Floats, Floats, Floats, Floats]:
    """Return what ``alive_and_gone`` does and their gradients in α, β, γ, δ, each [N, 4]."""
    x, last, n = opportunities(h)
    alpha, beta, gamma, delta = theta
    kinds, row = np.unique(x, return_inverse=True)
    terms = _terms(theta, kinds, int(n.max()))  # [U, M + 1]
    tail = np.logaddexp.accumulate(terms[:, ::-1], axis=1)[:, ::-1]
    m = np.arange(terms.shape[1])
    both, out = digamma(alpha + beta), digamma(gamma + delta)
    slack = np.maximum(m[:, None] - kinds[None, :], 0)
    fewer = digamma(alpha + beta + m)
    ended = digamma(gamma + delta + 1 + m)
    each = np.empty((len(m), 4, len(kinds)))  # [M + 1, 4, U], d term
    each[:, 0] = digamma(alpha + kinds)[None, :] - (fewer + digamma(alpha) - both)[:, None]
    each[:, 1] = digamma(beta + m)[slack] - (fewer + digamma(beta) - both)[:, None]
    each[:, 2] = (digamma(gamma + 1) - ended - digamma(gamma) + out)[:, None]
    each[:, 3] = (digamma(delta + m) - ended - digamma(delta) + out)[:, None]
    # the mean of d term over the tail from m on, weighted by the terms: from the end backwards
    with np.errstate(invalid="ignore"):
        own = np.where(np.isfinite(tail), np.exp(terms - tail), 0.0).T.copy()  # [M + 1, U]
    slope = each
    slope[-1] = 0.0
    for at in range(len(m) - 2, -1, -1):
        slope[at] -= slope[at + 1]
        slope[at] *= own[at]
        slope[at] += slope[at + 1]
    gone = _between(tail[row, last], tail[row, n])
    with np.errstate(invalid="ignore"):
        kept = np.where(last < n, np.exp(tail[row, n] - tail[row, last]), 0.0)
    a, b = slope[last, :, row], slope[n, :, row]  # [N, 4]
    d_gone = a + (a - b) * (kept / np.maximum(1 - kept, 1e-300))[:, None]
    d_alive = np.stack(
        [
            digamma(alpha + x) - digamma(alpha + beta + n) - digamma(alpha) + both,
            digamma(beta + n - x) - digamma(alpha + beta + n) - digamma(beta) + both,
            out - digamma(gamma + delta + n),
            digamma(delta + n) - digamma(gamma + delta + n) - digamma(delta) + out,
        ]
    )
    base = betaln(alpha + x, beta + n - x) - betaln(alpha, beta)
    alive = base + betaln(gamma, delta + n) - betaln(gamma, delta)
    return alive, gone, d_alive.T, np.where((last < n)[:, None], d_gone, 0.0)


def purchases_ahead(
    theta: Floats, x: Floats | Ints, n: Floats | Ints, days: float | Floats
) -> Floats:
    """Return E[purchases in the next ``days`` | alive after ``n`` days with ``x`` of them bought].

    (α + x)/(α + β + n) · Σ_k E[(1 - θ)^k], k = 1 … days, θ ~ beta(γ, δ + n).

    References
    ----------
    fader2010bgbb, equations 8 and 13.
    """
    alpha, beta, gamma, delta = theta
    if abs(gamma - 1) < 1e-7:  # 0/0 there, and continuous
        gamma = 1 + 1e-7
    d = delta + n
    lived = gammaln(d + days + 1) - gammaln(gamma + d + days) + gammaln(gamma + d) - gammaln(d + 1)
    rate = (alpha + x) / (alpha + beta + n)
    near = d * np.expm1(np.minimum(lived, 1.0))
    total = np.where(lived < 1.0, near, np.exp(np.log(d) + lived) - d)  # a d next to nothing
    return np.asarray(rate * total / (1 - gamma), np.float64)


def _terms(theta: Floats, kinds: Ints, n: int) -> Floats:
    # ln of the chance to have left just after m opportunities with x bought, [U, n + 1]; the last
    # column stands for no tail at all
    alpha, beta, gamma, delta = theta
    m = np.arange(n + 1)
    slack = np.maximum(m[None, :] - kinds[:, None], 0)
    bought = gammaln(alpha + kinds)[:, None] + gammaln(beta + m)[slack] - gammaln(alpha + beta + m)
    left = gammaln(gamma + 1) + gammaln(delta + m) - gammaln(gamma + delta + 1 + m)
    terms = bought + left - betaln(alpha, beta) - betaln(gamma, delta)
    terms[:, -1] = -np.inf
    return np.asarray(terms, np.float64)


def _between(from_last: Floats, from_end: Floats) -> Floats:
    # ln(e^a - e^b), a the tail from the last purchase, b that from the end of the history
    some = from_end < from_last
    with np.errstate(invalid="ignore"):
        apart = np.where(some, from_end - from_last, -1.0)
    return np.where(some, from_last + np.log(-np.expm1(apart)), -np.inf)
