"""How good stated chances were: Brier score, reliability, and who was ranked before whom."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.lifecycle.rates import with_rate

Floats = NDArray[np.float64]


def brier(p: Floats, truth: NDArray[np.bool_]) -> float:
    """Return the mean squared distance of chances from what came true.

    References
    ----------
    brier1950, equation 2.
    """
    return float(np.mean((p - truth) ** 2))


def c_index(risk: Floats, week: NDArray[np.int64]) -> float | None:
    """Return the share of pairs in which who churned sooner had the higher risk; ties count half.

    Parameters
    ----------
    risk : array [N]
        Higher is sooner.
    week : array [N]
        Week of churn from 1 on; a number above all others for who did not churn in the window.

    Returns
    -------
    float or None
        None where no two users can be compared.

    References
    ----------
    harrell1982.
    """
    order = np.argsort(risk, kind="stable")
    ranked, when = risk[order], week[order]
    good = pairs = 0.0
    for one in np.unique(when)[:-1]:
        churned, later = ranked[when == one], ranked[when > one]
        below = np.searchsorted(later, churned, side="left")
        equal = np.searchsorted(later, churned, side="right") - below
        good += float(below.sum()) + 0.5 * float(equal.sum())
        pairs += len(churned) * len(later)
    return good / pairs if pairs else None


def reliability(p: Floats, truth: NDArray[np.bool_], *, bins: int = 10) -> pl.DataFrame:
    """Return stated beside observed chance in bins of equal size, lowest first.

    Returns
    -------
    polars.DataFrame
        bin, n, stated (mean), observed, observed_low, observed_high (Wilson).
    """
    place = np.empty(len(p), np.int64)
    place[np.argsort(p, kind="stable")] = np.arange(len(p)) * bins // max(len(p), 1) + 1
    rows = pl.DataFrame({"bin": place, "p": p, "churned": truth.astype(np.int64)})
    table = rows.group_by("bin").agg(
        n=pl.len().cast(pl.Int64), stated=pl.col("p").mean(), hits=pl.col("churned").sum()
    )
    return with_rate(table.sort("bin"), hits="hits", name="observed").drop("hits", "reason")
