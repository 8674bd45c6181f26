"""Covariates that do not change with time: from attributes, and scaled for the search.

N customers, Q covariates.
"""

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.errors import InputError, Unfit
from lifeloop.lifecycle.clv.histories import Histories
from lifeloop.lifecycle.clv.likelihood import Estimate

Floats = NDArray[np.float64]

FEWEST = 30
"""A value of an attribute that fewer customers have is joined with the most frequent one."""


def covariates_of(users: pl.DataFrame, traits: pl.DataFrame) -> tuple[Floats, tuple[str, ...]]:
    """Return numbers as they are and one column per text value but the most frequent, [N, Q].

    Parameters
    ----------
    users : DataFrame
        ``user_id``, the customers in their order.
    traits : DataFrame
        ``user_id``, one row each, and attributes. A missing text is a value of its own; a missing
        number is left missing, which the model refuses.

    Raises
    ------
    InputError
        Two rows of one user.
    """
    if traits["user_id"].is_duplicated().any():
        twice = traits.filter(pl.col("user_id").is_duplicated())["user_id"][0]
        raise InputError("a user has two rows of covariates", got=twice)
    rows = users.select("user_id").join(traits, on="user_id", how="left", maintain_order="left")
    columns: dict[str, Floats] = {}
    for name in (n for n in traits.columns if n != "user_id"):
        if rows[name].dtype.is_numeric():
            columns[name] = rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
            continue
        texts = rows[name].cast(pl.String).fill_null("(unknown)")
        counts = texts.value_counts().sort("count", name, descending=[True, False])
        often = counts.filter(pl.col("count") >= FEWEST)[name].to_list()[1:]
        for kind in sorted(often):
            columns[f"{name}={kind}"] = (texts == kind).to_numpy().astype(np.float64)
    z = np.column_stack(list(columns.values())) if columns else np.empty((len(rows), 0))
    return np.asarray(z, np.float64), tuple(columns)


def scaled(h: Histories) -> tuple[Histories, Floats, Floats]:
    """Return the histories with covariates of mean 0 and deviation 1, the means and deviations.

    Raises
    ------
    Unfit
        No covariate, or one that says the same as the others or nothing.
    """
    z = h.covariates()
    if not z.shape[1]:
        raise Unfit(
            "no covariate that varies", got=h.z_names or "none",
            allowed=f"two values that {FEWEST} customers have each", hint="use the pareto model",
        )  # fmt: skip
    mean, deviation = z.mean(axis=0), z.std(axis=0)
    flat = deviation <= 1e-9 * np.maximum(np.abs(mean), 1.0)
    if flat.any():
        named = [name for name, one in zip(h.z_names, flat, strict=True) if one]
        raise Unfit(
            "covariates that do not vary have no effect to estimate", got=named,
            hint="leave them out, or use the pareto model",
        )  # fmt: skip
    out = (z - mean) / deviation
    if np.linalg.matrix_rank(out, tol=1e-6 * np.sqrt(len(z))) < z.shape[1]:
        raise Unfit(
            "covariates of which one follows from the others", got=h.z_names, hint="leave one out"
        )
    return replace(h, z=out), mean, deviation


def unscaled(found: Estimate, mean: Floats, deviation: Floats) -> Estimate:
    """Return the estimate for covariates as they were given, of one for ``scaled`` ones.

    With z' = (z - mean)/deviation: g = g'/deviation and ln α = ln α' + Σ g' mean/deviation. On the
    scale of the search that is linear, so that the covariance follows exactly.
    """
    q = len(mean)
    turn = np.eye(4 + 2 * q)
    for row, begin in ((1, 4), (3, 4 + q)):
        at = np.arange(begin, begin + q)
        turn[row, at] = mean / deviation
        turn[at, at] = 1 / deviation
    values = found.values.copy()
    values[:4] = np.log(values[:4])
    values = turn @ values
    values[:4] = np.exp(values[:4])
    covariance = None if found.covariance is None else turn @ found.covariance @ turn.T
    return replace(found, values=values, covariance=covariance)
