"""Which purchase model holds in time: fitted on the past, compared with what came after."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from lifeloop.errors import InputError
from lifeloop.lifecycle.clv.histories import DAYS_PER, Histories, histories_of
from lifeloop.lifecycle.clv.purchases import NAMES, Name, fit_purchases

MODELS: tuple[Name, ...] = ("bg", "mbg", "pareto")


@dataclass(frozen=True, eq=False)
class HoldOut:
    """Every model beside the floor; the chosen one; its calibration by decile.

    ``models``: model, predicted, actual, total_error (share of actual), mae (purchases per
    customer), reason (null, or why it could not be fitted). ``rate`` is the floor: each customer
    goes on at the rate so far. ``deciles``: decile, n, predicted, actual, of the chosen model.
    """

    models: pl.DataFrame
    chosen: Name
    deciles: pl.DataFrame


def hold_out(days: pl.DataFrame, *, split: int, end: int, unit: str) -> HoldOut:
    """Fit on purchases up to day ``split``, predict those until day ``end``, choose by mae.

    Parameters
    ----------
    days : DataFrame
        As for ``histories_of``; buyers first seen after ``split`` are not judged.
    split, end : int
        Last day known to the models and last day judged.
    unit : str
        Time unit of the models.

    Raises
    ------
    InputError
        ``end`` not after ``split``, nobody who bought by then, no purchase to judge by, or no
        model that could be fitted.
    """
    if end <= split:
        raise InputError("the hold-out ends before it begins", got=end, allowed=f"after {split}")
    known = histories_of(days, as_of=split, unit=unit)
    if known.is_empty():
        raise InputError("nobody has bought by the split", got=split, hint="split later")
    later = days.filter((pl.col("day") > split) & (pl.col("day") <= end))
    bought = later.group_by("user_id").agg(actual=pl.col("day").n_unique())
    actual = known.join(bought, on="user_id", how="left", maintain_order="left")
    truth = actual["actual"].fill_null(0).to_numpy().astype(np.float64)  # [N]
    if not truth.any():
        raise InputError("nobody known bought in the hold-out", got=(split, end))
    x, t_x, age = (known[name].to_numpy() for name in ("x", "t_x", "age"))
    h = Histories(x, t_x, age, unit)
    span = (end - split) / DAYS_PER[unit]
    said = {"rate": np.divide(x, age, out=np.zeros_like(x), where=age > 0) * span}
    refused: dict[str, str] = {}
    for name in MODELS:
        try:
            said[name] = fit_purchases(h, name=name).next_purchases(h, t=span)
        except InputError as fault:
            refused[name] = str(fault)
    rows = [
        {
            "model": name,
            "predicted": float(guess.sum()),
            "actual": float(truth.sum()),
            "total_error": float(guess.sum() / truth.sum() - 1),
            "mae": float(np.abs(guess - truth).mean()),
            "reason": None,
        }
        for name, guess in said.items()
    ]
    rows += [{"model": name, "reason": why} for name, why in refused.items()]
    fitted = [row for row in rows if row["model"] in NAMES and row["reason"] is None]
    if not fitted:
        raise InputError("no purchase model fits these data", got="; ".join(refused.values()))
    best = min(fitted, key=lambda row: float(str(row["mae"])))
    chosen = next(name for name in MODELS if name == best["model"])
    decile = np.empty(len(truth), np.int64)
    decile[np.argsort(said[chosen], kind="stable")] = np.arange(len(truth)) * 10 // len(truth) + 1
    judged = pl.DataFrame({"decile": decile, "predicted": said[chosen], "actual": truth})
    deciles = judged.group_by("decile").agg(
        pl.len().alias("n"), pl.col("predicted", "actual").mean()
    )
    schema = {"model": pl.String, **dict.fromkeys(("predicted", "actual"), pl.Float64)}
    schema |= {"total_error": pl.Float64, "mae": pl.Float64, "reason": pl.String}
    return HoldOut(pl.DataFrame(rows, schema=schema), chosen, deciles.sort("decile"))
