"""How many purchases are to come, and who is still a customer: buy-till-you-die models."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lifeloop.errors import InputError, Unfit
from lifeloop.lifecycle.clv.covariates import scaled, unscaled
from lifeloop.lifecycle.clv.discrete import opportunities
from lifeloop.lifecycle.clv.formulas import expected_next, expected_repeats, p_alive
from lifeloop.lifecycle.clv.histories import Histories
from lifeloop.lifecycle.clv.likelihood import Estimate, maximum
from lifeloop.lifecycle.clv.pareto import PARETO
from lifeloop.lifecycle.clv.slopes import with_slopes

Floats = NDArray[np.float64]
Name = Literal["nbd", "bg", "mbg", "pareto", "bgbb", "pareto_cov"]

NAMES: dict[str, tuple[str, ...]] = {
    "nbd": ("r", "alpha"),
    "bg": ("r", "alpha", "a", "b"),
    "mbg": ("r", "alpha", "a", "b"),
    "pareto": ("r", "alpha", "s", "beta"),
    "bgbb": ("alpha", "beta", "gamma", "delta"),
    "pareto_cov": ("r", "alpha", "s", "beta"),
}
"""Models and their parameters; pareto_cov has two effects per covariate besides."""

BUSY = 200
"""Above this many repeats at the 90th percentile a log is of use, not of purchases."""


@dataclass(frozen=True, eq=False)
class PurchaseModel:
    """A fitted purchase process; all times in ``unit``."""

    name: Name
    unit: str
    estimate: Estimate

    def p_alive(self, h: Histories) -> Floats:
        """Return P(alive), [N]; BG/NBD gives 1 to who never bought again, NBD to everyone."""
        return p_alive(self.name, self.estimate.values, self._same_unit(h))

    def repeats(self, t: Floats) -> Floats:
        """Return the repeat purchases of a new customer in ``t``, same shape.

        With covariates, of one whose covariates are all 0.
        """
        return expected_repeats(self.name, self.estimate.values, t, unit=self.unit)

    def next_purchases(self, h: Histories, *, t: float) -> Floats:
        """Return the expected purchases of each customer in the next ``t``, [N].

        Raises
        ------
        InputError
            Another time unit, a negative ``t``, or a number the formula cannot give.
        """
        if not (np.isfinite(t) and t >= 0):
            raise InputError("a horizon is a length of time", got=t, allowed="0 or more")
        out = expected_next(self.name, self.estimate.values, self._same_unit(h), t)
        if not np.isfinite(out).all():
            at = int(np.flatnonzero(~np.isfinite(out))[0])
            raise InputError(
                "no expectation for this history",
                got=(h.x[at], h.t_x[at], h.age[at]),
                hint="shorten the horizon, or use the Pareto/NBD model",
            )
        return out

    def total_interval(
        self, h: Histories, *, t: float, rng: np.random.Generator, n: int = 200
    ) -> tuple[float, float]:
        """Return the 95% interval of all purchases in the next ``t``.

        Parameters vary as estimated; given them, the total is taken as Poisson. The second
        understates how much single customers differ; for thousands of customers it is small.
        """
        rows, weight = self._same_unit(h).collapsed()
        means = np.array(
            [
                float(weight @ expected_next(self.name, theta, rows, t))
                for theta in self.estimate.draws(rng, n=n)
            ]
        )  # [n]
        low, high = np.quantile(rng.poisson(means), [0.025, 0.975])
        return float(low), float(high)

    def _same_unit(self, h: Histories) -> Histories:
        if h.unit != self.unit:
            raise InputError(
                "the model and the histories have different time units",
                got=h.unit,
                allowed=self.unit,
            )
        return h


def fit_purchases(h: Histories, *, name: Name) -> PurchaseModel:
    """Fit one purchase process by maximum likelihood, equal histories counted once.

    Raises
    ------
    InputError
        An unknown model; histories without the covariates that it reads.
    Unfit
        Nobody who bought again, all histories equal, a log of daily use, or no maximum. Each names
        what to use instead.

    References
    ----------
    ehrenberg1959, fader2005bgnbd, batislam2007mbg, fader2005pareto, fader2007covariates,
    fader2010bgbb.
    """
    if name not in NAMES:
        raise InputError("unknown purchase model", got=name, allowed=", ".join(NAMES))
    if name == "pareto_cov":
        read, mean, deviation = scaled(h)
        found = _fitted(read, name)
        return PurchaseModel(name, h.unit, unscaled(found, mean, deviation))
    return PurchaseModel(name, h.unit, _fitted(replace(h, z=None, z_names=()), name))


def _fitted(h: Histories, name: Name) -> Estimate:
    rows, weight = h.collapsed()
    _refuse(h, rows, name)

    def log_likelihood(theta: Floats) -> tuple[float, Floats]:
        with np.errstate(all="ignore"):  # far from the maximum; the result is checked
            values, slopes = with_slopes(name, theta, rows)
            return float(weight @ values), np.asarray(weight @ slopes, np.float64)

    effects = [f"{what}.{z}" for what in ("buys", "leaves") for z in h.z_names]
    return maximum(
        log_likelihood,
        names=(*NAMES[name], *effects),
        starts=[[*start, *[0.0] * len(effects)] for start in _starts(name, h)],
        n=len(h.x),
        model=f"{name} model",
        free=len(effects),
        hint="where nobody seems to leave use the nbd model; else a longer period, or customers "
        "who bought again",
    )


def _starts(name: Name, h: Histories) -> list[list[float]]:
    scale = float(np.average(h.age))
    if name == "nbd":
        return [[1.0, scale / 2]]
    if name in PARETO:
        return [[1.0, scale / 2, 1.0, scale / 2], [0.5, scale / 3, 0.5, scale / 4]]
    if name == "bgbb":
        _, last, n = opportunities(h)
        daily = float(np.clip(h.x.sum() / max(last.sum(), 1), 1e-4, 0.95))
        days = float(np.average(n))
        return [[1.0, (1 - daily) / daily, 1.0, days], [0.5, 0.5 / daily, 0.5, days / 4]]
    return [[1.0, scale / 2, 1.0, 1.0], [0.3, scale / 5, 0.8, 2.5]]


def _refuse(h: Histories, rows: Histories, name: Name) -> None:
    if not (h.x > 0).any():
        raise Unfit(
            "nobody bought twice, so leaving cannot be told from waiting",
            got=f"{len(h.x)} customers with one purchase",
            hint="read a longer period, or use the share of buyers who come back",
        )
    if len(rows.x) == 1:
        raise Unfit(
            "all histories are equal, so how customers differ cannot be learned",
            got=(rows.x[0], rows.t_x[0], rows.age[0]),
            hint="use the common rate x / age",
        )
    busy = float(np.quantile(h.x, 0.9))
    if busy > BUSY and name != "bgbb":
        raise Unfit(
            "this is a log of use, not of purchases: the model assumes a few dozen at most",
            got=f"a tenth of the users have more than {busy:.0f} repeats",
            hint="use the bgbb model, which takes days as opportunities, or the activity states",
        )
