"""What a purchase is worth, per customer: Gamma-Gamma."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln

from lifeloop.errors import InputError, Unfit
from lifeloop.lifecycle.clv.likelihood import Estimate, maximum

Floats = NDArray[np.float64]

TIED = 0.3
"""Rank correlation of frequency and spend above which they are not independent."""


@dataclass(frozen=True, eq=False)
class SpendModel:
    """Fitted spend per purchase; money in the currency of the data."""

    estimate: Estimate

    @property
    def mean(self) -> float:
        """Expected spend of a purchase over all customers: p v / (q - 1)."""
        p, q, v = self.estimate.values
        return float(p * v / (q - 1))

    def expected(self, x: Floats, monetary: Floats) -> Floats:
        """Return E[spend per purchase | x repeats of mean ``monetary``], [N].

        (p (v + x m)) / (p x + q - 1); with x = 0 it is ``mean``.
        """
        p, q, v = self.estimate.values
        return np.asarray(p * (v + x * monetary) / (p * x + q - 1), np.float64)


def fit_spend(x: Floats, monetary: Floats) -> SpendModel:
    """Fit Gamma-Gamma to customers with at least one repeat.

    Parameters
    ----------
    x, monetary : array [N]
        Repeats and mean spend per repeat; customers without a repeat are not read.

    Raises
    ------
    InputError
        Money that is not above 0.
    Unfit
        Fewer than two spends, frequency tied to spend, or q <= 1 (the mean would not exist). Each
        names what to use instead.

    References
    ----------
    fader2013gammagamma, equations 1a and 5.
    """
    again = x > 0
    n, m = x[again], monetary[again]
    _refuse(n, m)
    unit = float(np.median(m))  # so that currencies of very large numbers are searched alike

    z = m / unit

    def log_likelihood(theta: Floats) -> tuple[float, Floats]:
        p, q, v = theta
        px = p * n
        with np.errstate(all="ignore"):  # far from the maximum; the result is checked
            out = gammaln(px + q) - gammaln(px) - gammaln(q) + q * np.log(v) + px * np.log(n)
            spread = np.log(v + n * z)
            value = (out + (px - 1) * np.log(z) - (px + q) * spread).sum()
            both = digamma(px + q)
            d_p = n * (both - digamma(px) + np.log(n) + np.log(z) - spread)
            d_q = both - digamma(q) + np.log(v) - spread
            d_v = q / v - (px + q) / (v + n * z)
        return float(value), np.array([d_p.sum(), d_q.sum(), d_v.sum()])

    found = maximum(
        log_likelihood,
        names=("p", "q", "v"),
        starts=[[1.0, 2.0, 1.0], [6.0, 4.0, 0.5]],
        n=len(n),
        model="Gamma-Gamma",
    )
    values = found.values * np.array([1.0, 1.0, unit])
    if values[1] <= 1:
        raise Unfit(
            "Gamma-Gamma has no mean spend here: q is not above 1",
            got=round(float(values[1]), 4),
            hint="use the observed mean, with the largest orders capped",
        )
    in_money = found.log_likelihood - len(n) * float(np.log(unit))
    return SpendModel(Estimate(found.names, values, in_money, found.n, found.covariance))


def _refuse(n: Floats, m: Floats) -> None:
    wrong = ~(np.isfinite(m) & (m > 0))
    if wrong.any():
        raise InputError(
            "spend per purchase must be above 0",
            got=f"{float(m[wrong][0])} ({int(wrong.sum())} customers)",
            hint="leave fully refunded and free orders out before counting",
        )
    if len(np.unique(m)) < 2:
        raise Unfit(
            "spend does not vary between customers who bought again",
            got=f"{len(m)} customers",
            hint="use the observed mean",
        )
    if len(np.unique(n)) > 1 and len(n) >= 30:
        from scipy.stats import spearmanr

        tie = float(spearmanr(n, m).statistic)
        if abs(tie) > TIED:
            raise Unfit(
                "Gamma-Gamma needs spend that does not depend on frequency",
                got=f"rank correlation {tie:.2f}",
                allowed=f"between -{TIED} and {TIED}",
                hint="use the observed mean spend per frequency group",
            )
