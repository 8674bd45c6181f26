"""What a purchase is worth where Gamma-Gamma does not fit: credibility by frequency group."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.errors import Unfit
from lifeloop.lifecycle.clv.spend import SpendModel, fit_spend

Floats = NDArray[np.float64]

EDGES = np.array([0, 1, 2, 4, 8, 16, 32], np.float64)
"""Purchases after the first from which a frequency group begins."""

FEWEST = 20
"""A frequency group of fewer customers joins the one below."""


@dataclass(frozen=True, eq=False)
class Spend:
    """Expected money per purchase and customer, [N], and how it was found.

    ``shape`` is that of a gamma for one purchase: 1 / (squared coefficient of variation).
    ``how`` is gamma_gamma or credibility, ``why`` why the first was not possible.
    """

    expected: Floats
    shape: float
    how: str
    why: str | None
    model: SpendModel | None


def spend_of(daily: pl.DataFrame, x: Floats, monetary: Floats) -> Spend:
    """Return the expected spend of customers, by Gamma-Gamma where the data allow it.

    Else the customer's own mean and that of the customers who buy about as often, weighted by
    credibility: (n m + k M) / (n + k), with k the variance within customers over that between
    them in the group.

    Parameters
    ----------
    daily : DataFrame
        One row per purchase of positive value, sorted by ``user_id``: user_id, value.
    x, monetary : array [N]
        One entry per customer in the order of ``user_id``: see ``histories_of``.

    Raises
    ------
    Unfit
        No purchase has a positive value.

    References
    ----------
    buhlmann1967; fader2013gammagamma.
    """
    if daily.is_empty():
        raise Unfit("no purchase has a value above 0", hint="import the value of the order lines")
    per = daily.group_by("user_id", maintain_order=True).agg(
        n=pl.len().cast(pl.Float64), m=pl.col("value").mean(), v=pl.col("value").var()
    )
    n, m = per["n"].to_numpy(), per["m"].to_numpy()
    within = per["v"].fill_null(0.0).to_numpy()
    degrees = float((n - 1).sum())
    noise = float(((n - 1) * within).sum() / degrees) if degrees > 0 else float(m.var())
    mean = float((n * m).sum() / n.sum())
    shape = mean**2 / noise if noise > 0 else 1e6
    try:
        found = fit_spend(x, monetary)
        return Spend(found.expected(x, monetary), shape, "gamma_gamma", None, found)
    except Unfit as fault:
        why = str(fault)
    expected = np.empty(len(x))
    group = _groups(x)
    for one in np.unique(group):
        at = np.flatnonzero(group == one)
        weight, own = n[at], m[at]
        centre = float((weight * own).sum() / weight.sum())
        between = max(float(own.var()) - noise * float((1 / weight).mean()), 0.0)
        k = noise / between if between > 0 else np.inf
        share = weight / (weight + k) if np.isfinite(k) else np.zeros(len(at))
        expected[at] = share * own + (1 - share) * centre
    return Spend(expected, shape, "credibility", why, None)


def _groups(x: Floats) -> NDArray[np.int64]:
    group = np.searchsorted(EDGES, x, side="right") - 1
    for one in range(len(EDGES) - 1, 0, -1):
        if 0 < (group == one).sum() < FEWEST:
            group[group == one] = one - 1
    return np.asarray(group, np.int64)
