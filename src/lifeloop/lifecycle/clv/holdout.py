"""Which purchase model holds in time: fitted on the past, compared with what came after."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.errors import InputError, Unfit
from lifeloop.lifecycle.clv.covariates import covariates_of
from lifeloop.lifecycle.clv.histories import DAYS_PER, Histories, histories_of
from lifeloop.lifecycle.clv.purchases import NAMES, Name, PurchaseModel, fit_purchases

Floats = NDArray[np.float64]

MODELS: tuple[Name, ...] = ("bg", "mbg", "pareto", "nbd", "bgbb", "pareto_cov")
"""Models that compete; pareto_cov only where customers have covariates."""


@dataclass(frozen=True, eq=False)
class HoldOut:
    """Every model beside the floor; the chosen one; its calibration by decile.

    ``models``: model, predicted, actual, total_error (share of actual), mae (purchases per
    customer), deviance (Poisson, per customer; smaller is nearer), reason (null, or why it could
    not be fitted). ``rate`` is the floor: each customer goes on at the rate so far. ``deciles``:
    decile, n, predicted, actual, rate, of the chosen model. ``customers``: the histories as known
    at the split, with predicted, actual and rate (purchases).
    """

    models: pl.DataFrame
    chosen: Name
    deciles: pl.DataFrame
    customers: pl.DataFrame
    fitted: PurchaseModel


def hold_out(
    days: pl.DataFrame, *, split: int, end: int, unit: str, traits: pl.DataFrame | None = None
) -> HoldOut:
    """Fit on purchases up to day ``split``, predict those until day ``end``, choose by deviance.

    The deviance and not the mean absolute error, because what is predicted is a mean: the absolute
    error is smallest at the median, which for most customers is no purchase at all.

    Parameters
    ----------
    days : DataFrame
        As for ``histories_of``; buyers first seen after ``split`` are not judged.
    split, end : int
        Last day known to the models and last day judged.
    unit : str
        Time unit of the models.
    traits : DataFrame, optional
        See ``covariates_of``.

    Raises
    ------
    InputError
        ``end`` not after ``split``.
    Unfit
        Nobody who bought by then, no purchase to judge by, or no model that could be fitted.
    """
    if end <= split:
        raise InputError("the hold-out ends before it begins", got=end, allowed=f"after {split}")
    known = histories_of(days, as_of=split, unit=unit)
    if known.is_empty():
        raise Unfit("nobody has bought by the split", got=split, hint="split later")
    later = days.filter((pl.col("day") > split) & (pl.col("day") <= end))
    bought = later.group_by("user_id").agg(actual=pl.col("day").n_unique())
    actual = known.join(bought, on="user_id", how="left", maintain_order="left")
    truth = actual["actual"].fill_null(0).to_numpy().astype(np.float64)  # [N]
    if not truth.any():
        raise Unfit("nobody known bought in the hold-out", got=(split, end))
    h = read(known, unit=unit, traits=traits)
    x, age = h.x, h.age
    span = (end - split) / DAYS_PER[unit]
    said = {"rate": np.divide(x, age, out=np.zeros_like(x), where=age > 0) * span}
    refused: dict[str, str] = {}
    made: dict[str, PurchaseModel] = {}
    for name in competing(h):
        try:
            made[name] = fit_purchases(h, name=name)
            said[name] = made[name].next_purchases(h, t=span)
        except InputError as fault:
            refused[name] = str(fault)
    rows = [
        {
            "model": name,
            "predicted": float(guess.sum()),
            "actual": float(truth.sum()),
            "total_error": float(guess.sum() / truth.sum() - 1),
            "mae": float(np.abs(guess - truth).mean()),
            "deviance": deviance(truth, guess),
            "reason": None,
        }
        for name, guess in said.items()
    ]
    rows += [{"model": name, "reason": why} for name, why in refused.items()]
    fitted = [row for row in rows if row["model"] in NAMES and row["reason"] is None]
    if not fitted:
        raise Unfit("no purchase model fits these data", got="; ".join(refused.values()))
    best = min(fitted, key=lambda row: float(str(row["deviance"])))
    chosen = next(name for name in MODELS if name == best["model"])
    judged = known.with_columns(
        predicted=pl.Series(said[chosen]), actual=pl.Series(truth), rate=pl.Series(said["rate"])
    )
    schema = {"model": pl.String, **dict.fromkeys(("predicted", "actual"), pl.Float64)}
    schema |= dict.fromkeys(("total_error", "mae", "deviance"), pl.Float64)
    schema |= {"reason": pl.String}
    models = pl.DataFrame(rows, schema=schema)
    return HoldOut(models, chosen, deciles_of(judged), judged, made[chosen])


def read(table: pl.DataFrame, *, unit: str, traits: pl.DataFrame | None) -> Histories:
    """Return the rows of ``histories_of`` as the models read them, with covariates if any."""
    x, t_x, age = (table[name].to_numpy() for name in ("x", "t_x", "age"))
    z, names = (None, ()) if traits is None else covariates_of(table, traits)
    return Histories(x, t_x, age, unit, z, names)


def competing(h: Histories) -> list[Name]:
    """Return the models that these histories can be read by."""
    return [name for name in MODELS if name != "pareto_cov" or h.z is not None]


def deviance(truth: Floats, guess: Floats) -> float:
    """Return the mean Poisson deviance of counts, twice the log-likelihood short of perfect.

    A guess of 0 where something came counts as one in a million, so that the floor is finite.
    """
    mean = np.maximum(guess, 1e-6)
    ratio = np.log(np.where(truth > 0, truth, 1.0) / mean)
    return float(2 * np.mean(np.where(truth > 0, truth * ratio, 0.0) - (truth - mean)))


def deciles_of(judged: pl.DataFrame) -> pl.DataFrame:
    """Return tenths of the customers by ``predicted``: decile, n, and the means of the numbers."""
    place = pl.col("predicted").rank("ordinal") - 1
    return (
        judged.with_columns(decile=(place * 10 // pl.len() + 1).cast(pl.Int64))
        .group_by("decile")
        .agg(pl.len().cast(pl.Int64).alias("n"), pl.col("predicted", "actual", "rate").mean())
        .sort("decile")
    )
