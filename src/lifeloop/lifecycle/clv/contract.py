"""How long a contract is renewed: shifted beta-geometric."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, digamma

from lifeloop.errors import InputError
from lifeloop.lifecycle.clv.likelihood import Estimate, maximum

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ContractChurn:
    """Fitted renewals: each customer leaves with a constant beta(α, β) chance per period."""

    estimate: Estimate

    def survival(self, t: Floats) -> Floats:
        """Return the share still under contract after ``t`` periods: B(α, β + t) / B(α, β)."""
        a, b = self.estimate.values
        return np.asarray(np.exp(betaln(a, b + t) - betaln(a, b)), np.float64)


def fit_contract_churn(survivors: Floats) -> ContractChurn:
    """Fit sBG to one cohort's survivors by period, [periods + 1], the first its size.

    Raises
    ------
    InputError
        Fewer than three counts, counts that grow or are not finite, nobody or everybody lost.

    References
    ----------
    fader2007sbg, equations 5 and 6.
    """
    lost = -np.diff(survivors)
    if len(survivors) < 3 or not np.isfinite(survivors).all() or (lost < 0).any():
        raise InputError(
            "survivors must be at least three finite counts that never grow",
            got=survivors.tolist(),
        )
    if lost.sum() <= 0 or survivors[-1] < 0 or survivors[-1] == 0:
        raise InputError(
            "a cohort of which nobody or everybody left has no fitted curve",
            got=survivors.tolist(),
            hint="read a longer or a shorter period, or use the observed curve",
        )
    t = np.arange(1, len(survivors), dtype=np.float64)

    def log_likelihood(theta: Floats) -> tuple[float, Floats]:
        a, b = theta
        base = betaln(a, b)
        left = betaln(a + 1, b + t - 1) - base
        stay = betaln(a, b + t[-1]) - base
        both, last = digamma(a + b), digamma(a + b + t)
        # d betaln(p, q) / dp = digamma(p) - digamma(p + q)
        left_a = digamma(a + 1) - last - digamma(a) + both
        left_b = digamma(b + t - 1) - last - digamma(b) + both
        stay_a, stay_b = both - last[-1], digamma(b + t[-1]) - last[-1] - digamma(b) + both
        slope = [lost @ left_a + survivors[-1] * stay_a, lost @ left_b + survivors[-1] * stay_b]
        return float(lost @ left + survivors[-1] * stay), np.array(slope, np.float64)

    found = maximum(
        log_likelihood,
        names=("alpha", "beta"),
        starts=[[1.0, 1.0], [0.5, 3.0]],
        n=round(float(survivors[0])),
        model="sBG",
    )
    return ContractChurn(found)
