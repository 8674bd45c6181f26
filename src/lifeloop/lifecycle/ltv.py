"""Predicted lifetime value as tables: per segment, per customer, by age, and back-tested."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import narwhals as nw
import numpy as np
import polars as pl

from lifeloop.errors import Unfit
from lifeloop.lifecycle.clv import HoldOut, Prediction, Terms, hold_out, predict
from lifeloop.lifecycle.clv.holdout import deviance
from lifeloop.lifecycle.clv.predict import LEAST_DAYS, UNIT, held_days
from lifeloop.lifecycle.frame import Events, collect
from lifeloop.lifecycle.money import MICRO
from lifeloop.lifecycle.options import SMALL_CELL, Options, View, opened
from lifeloop.lifecycle.purchases import check_currency, order_table
from lifeloop.lifecycle.shared import once
from lifeloop.lifecycle.stages import dates_of, ended
from lifeloop.lifecycle.value import observed_ltv

SEED = 20_250_101
"""Of everything drawn here: the same log gives the same intervals."""


def predicted_ltv(
    events: Events,
    *,
    order_types: Sequence[str] = ("purchase",),
    refund_types: Sequence[str] = ("refund",),
    terms: Terms | None = None,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return what the customers known today are worth over the days to come, per segment.

    One model of purchases and spend for all, chosen by a hold-out in time (``clv.predict``); a
    segment is the sum of its customers. With ``by`` the segments compete as covariates of the
    Pareto/NBD model as well, so that a total by segment may differ from the one without.
    Customers who are still to come are not in it.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``, ``value``, optionally ``order_id``, ``currency``.
    order_types, refund_types : sequence of str
        Event types that are order lines, and refunds of the order they name.
    terms : Terms, optional
        Horizon, period, yearly discount and margin.
    members : bool
        Return ``customer_value`` instead.
    **options
        See ``Options``; ``start`` and ``grain`` have no effect.

    Returns
    -------
    polars.DataFrame
        (``by``,) n (customers), alive (expected), purchases, value, value_low, value_high, ltv,
        ltv_low, ltv_high (per customer), model, spend_how, small.

    Raises
    ------
    Unfit
        The log carries no such model: the message says why, and what to do.

    References
    ----------
    spec/lifecycle.md, section 2 (LTV predicted).
    """
    view, days = purchase_days(events, order_types, refund_types, options)
    found = _found(view, days, terms)
    if members:
        return _customers(view, days, found)
    rows = _with_segments(view, days, found.customers)
    keys = list(view.by)
    sums = [
        pl.len().cast(pl.Int64).alias("n"),
        pl.col("p_alive").sum().alias("alive"),
        *[pl.col(name).sum() for name in ("purchases", "value", "variance")],
    ]
    table = rows.group_by(keys).agg(sums).sort(keys) if keys else rows.select(sums)
    both = [found.interval(v, s) for v, s in table.select("value", "variance").iter_rows()]
    table = table.with_columns(
        value_low=pl.Series([low for low, _ in both], dtype=pl.Float64),
        value_high=pl.Series([high for _, high in both], dtype=pl.Float64),
    )
    columns = ["n", "alive", "purchases", "value", "value_low", "value_high"]
    return table.select(
        *keys,
        *columns,
        ltv=pl.col("value") / pl.col("n"),
        ltv_low=pl.col("value_low") / pl.col("n"),
        ltv_high=pl.col("value_high") / pl.col("n"),
        model=pl.lit(found.model.name),
        spend_how=pl.lit(found.spend.how),
        small=pl.col("n") < SMALL_CELL,
    )


def customer_value(
    events: Events,
    *,
    order_types: Sequence[str] = ("purchase",),
    refund_types: Sequence[str] = ("refund",),
    terms: Terms | None = None,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return the predicted value of every customer, the largest first; see ``predicted_ltv``.

    Returns
    -------
    polars.DataFrame
        (``by``,) user_id, first_order, last_order (dates), orders (days with one), p_alive,
        purchases (expected), spend (per purchase), value, value_low, value_high.
    """
    del members
    view, days = purchase_days(events, order_types, refund_types, options)
    return _customers(view, days, _found(view, days, terms))


def ltv_by_age(
    events: Events,
    *,
    order_types: Sequence[str] = ("purchase",),
    refund_types: Sequence[str] = ("refund",),
    margin: float = 1.0,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return what users had brought by each age: the mean over the cohorts of which it is complete.

    Σ cumulative net margin / Σ users of the cohorts (``observed_ltv``, ``entry="seen"``), zero
    spenders included. Later ages are of fewer and older cohorts, so that the curve may fall.

    Returns
    -------
    polars.DataFrame
        (``by``,) age (in ``grain``), cohorts, n, ltv, ltv_low, ltv_high (95%, of the mean). With
        ``members`` as for ``observed_ltv``.
    """
    given: dict[str, Any] = {
        "order_types": order_types, "refund_types": refund_types, "margin": margin, **options,
    }  # fmt: skip
    earners = observed_ltv(events, members=True, **given)
    if members:
        return earners
    cells = observed_ltv(events, members=False, **given).filter(~pl.col("partial"), pl.col("n") > 0)
    if cells.is_empty():
        raise Unfit(
            "no age is complete for users who are known to be new",
            got="everybody was first seen within the burn-in, or too lately",
            hint="read a longer log, or set a shorter burn_in_days in the scenario",
        )
    split = options.get("by", ())
    by = [split] if isinstance(split, str) else list(split)
    before = pl.col("value").shift(1).over("cohort", "user_id", order_by="age").fill_null(0.0)
    squares = earners.with_columns(step=pl.col("value") ** 2 - before**2)
    squares = squares.group_by(*by, "cohort", "age").agg(pl.col("step").sum())
    keys = [*by, "cohort"]
    table = cells.join(squares, on=[*keys, "age"], how="left").sort(*keys, "age")
    table = table.with_columns(square=pl.col("step").fill_null(0.0).cum_sum().over(keys))
    pooled = table.group_by(*by, "age").agg(
        cohorts=pl.len().cast(pl.Int64),
        n=pl.col("n").sum(),
        value=pl.col("value").sum(),
        square=pl.col("square").sum(),
    )
    mean = pl.col("value") / pl.col("n")
    spread = 1.96 * ((pl.col("square") / pl.col("n") - mean**2).clip(0) / pl.col("n")).sqrt()
    return pooled.select(
        *by, "age", "cohorts", "n", ltv=mean, ltv_low=mean - spread, ltv_high=mean + spread
    ).sort(*by, "age")


def ltv_backtest(
    events: Events,
    *,
    order_types: Sequence[str] = ("purchase",),
    refund_types: Sequence[str] = ("refund",),
    terms: Terms | None = None,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return how far off the prediction was when the newest days were hidden, beside simpler ones.

    The last fifth of the log (at most the horizon) is hidden, predicted and compared, in purchases
    and in undiscounted money. ``lifeloop`` is ``clv.predict`` as it would have run on the day
    before: it chose its model, and its level if any, on earlier days only. ``rate`` is the floor:
    everyone goes on as so far, at the mean they spent so far.

    Returns
    -------
    polars.DataFrame
        model, from, to (dates hidden), n (customers), predicted, actual, total_error, mae,
        deviance (purchases), value_predicted, value_low, value_high, value_actual, value_error,
        chosen (the model that lifeloop took), reason. With ``members``: user_id, predicted, actual,
        value_predicted, value_actual.
    """
    view, days = purchase_days(events, order_types, refund_types, options)
    test = _tested(days, end=view.log.last_day, terms=terms or Terms())
    rows = test.customers
    if members:
        told = ["user_id", "predicted", "actual", "value_predicted", "value_actual"]
        return rows.select(told).sort("user_id")
    actual, truth = rows["actual"].to_numpy(), float(rows["value_actual"].sum())
    guess = rows["predicted"].to_numpy()
    low, high = test.found.interval(float(rows["value_predicted"].sum()), test.variance)
    ours = {
        "model": "lifeloop",
        "predicted": float(guess.sum()),
        "actual": float(actual.sum()),
        "total_error": float(guess.sum() / actual.sum() - 1),
        "mae": float(np.abs(guess - actual).mean()),
        "deviance": deviance(actual, guess),
        "value_predicted": float(rows["value_predicted"].sum()),
        "value_low": low,
        "value_high": high,
    }
    floor = float((rows["rate"] * rows["own_mean"]).sum())
    each = test.held.models.with_columns(
        value_predicted=pl.when(pl.col("model") == "rate").then(pl.lit(floor)),
        value_low=pl.lit(None, dtype=pl.Float64),
        value_high=pl.lit(None, dtype=pl.Float64),
    ).to_dicts()
    table = pl.DataFrame(
        [{**ours, "reason": None}, *each],
        schema={
            "model": pl.String,
            **dict.fromkeys((*list(ours)[1:],), pl.Float64),
            "reason": pl.String,
        },
    )
    dates = {
        "from": dates_of(np.full(table.height, test.split + 1)),
        "to": dates_of(np.full(table.height, view.log.last_day)),
    }
    return table.with_columns(
        n=pl.lit(rows.height, dtype=pl.Int64),
        value_actual=pl.lit(truth),
        value_error=pl.col("value_predicted") / truth - 1,
        chosen=pl.when(pl.col("model") == "lifeloop").then(pl.lit(test.found.model.name)),
        **dates,
    ).select(
        "model", "from", "to", "n", "predicted", "actual", "total_error", "mae", "deviance",
        "value_predicted", "value_low", "value_high", "value_actual", "value_error", "chosen",
        "reason",
    )  # fmt: skip


def ltv_calibration(
    events: Events,
    *,
    order_types: Sequence[str] = ("purchase",),
    refund_types: Sequence[str] = ("refund",),
    terms: Terms | None = None,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return predicted beside actual money of the hidden days, by tenth of predicted money.

    See ``ltv_backtest`` for what is hidden.

    Returns
    -------
    polars.DataFrame
        decile, n, value_predicted, value_actual, value_rate (the floor), means per customer. With
        ``members``: decile, user_id, value_predicted, value_actual.
    """
    view, days = purchase_days(events, order_types, refund_types, options)
    test = _tested(days, end=view.log.last_day, terms=terms or Terms())
    place = pl.col("value_predicted").rank("ordinal") - 1
    rows = test.customers.with_columns(
        decile=(place * 10 // pl.len() + 1).cast(pl.Int64),
        value_rate=pl.col("rate") * pl.col("own_mean"),
    )
    if members:
        columns = ["decile", "user_id", "value_predicted", "value_actual"]
        return rows.select(columns).sort("decile", "user_id")
    money = pl.col("value_predicted", "value_actual", "value_rate").mean()
    return rows.group_by("decile").agg(pl.len().cast(pl.Int64).alias("n"), money).sort("decile")


def purchase_days(
    events: Events, order_types: Sequence[str], refund_types: Sequence[str], options: Options
) -> tuple[View, pl.DataFrame]:
    """Return the view, and the net-positive purchases by user and local day.

    Columns: user_id, ``by``, day, value. A refund counts on the day of its order.
    """
    view = opened(events, ended(options), needs=("value",))
    bought, back = tuple(order_types), tuple(refund_types)
    check_currency(view, bought, back)
    origin = view.log.origin
    if origin is None:
        return view, _days(view, bought, back)
    key = ("purchase days", origin.key, bought, back)
    return view, once(key, (origin.events,), lambda: _days(view, bought, back))


def _days(view: View, bought: tuple[str, ...], back: tuple[str, ...]) -> pl.DataFrame:
    standing = order_table(view, bought, back).filter(nw.col("stands"), nw.col("net") > 0)
    days = collect(
        standing.group_by("user_id", *view.by, "day").agg(net=nw.col("net").sum())
    ).with_columns(value=pl.col("net") / MICRO)
    return days.drop("net").sort("user_id", "day")


@dataclass(frozen=True, eq=False)
class _Test:
    """What was predicted on day ``split``, and what came: one row per customer known then."""

    split: int
    found: Prediction
    held: HoldOut
    customers: pl.DataFrame
    variance: float


def _tested(days: pl.DataFrame, *, end: int, terms: Terms) -> _Test:
    return once(("hidden", end, terms), (days,), lambda: _test(days, end=end, terms=terms))


def _test(days: pl.DataFrame, *, end: int, terms: Terms) -> _Test:
    if days.is_empty():
        raise Unfit("no purchase has a value above 0", hint="import the value of the order lines")
    span = held_days(int(str(days["day"].min())), end, terms.horizon_days)
    if span < LEAST_DAYS:
        raise Unfit(
            "the log is too short to hide a part of it",
            got=f"{span} days to hide",
            allowed=f"{LEAST_DAYS} days or more, a fifth of the log",
        )
    split = end - span
    held = hold_out(days, split=split, end=end, unit=UNIT)
    plain = replace(terms, horizon_days=span, discount=0.0, margin=1.0)
    found = predict(days, as_of=split, terms=plain, rng=np.random.default_rng(SEED))
    later = days.filter(pl.col("day") > split, pl.col("day") <= end)
    money = later.group_by("user_id").agg(value_actual=pl.col("value").sum())
    own = (
        days.filter(pl.col("day") <= split).group_by("user_id").agg(own_mean=pl.col("value").mean())
    )
    customers = (
        held.customers.select("user_id", "actual", "rate")
        .join(found.customers, on="user_id", how="left", maintain_order="left")
        .join(money, on="user_id", how="left", maintain_order="left")
        .join(own, on="user_id", how="left", maintain_order="left")
        .with_columns(pl.col("value_actual").fill_null(0.0))
        .rename({"purchases": "predicted", "value": "value_predicted"})
    )
    return _Test(split, found, held, customers, float(found.customers["variance"].sum()))


def _found(view: View, days: pl.DataFrame, terms: Terms | None) -> Prediction:
    asked, last_day = terms or Terms(), view.log.last_day

    def found() -> Prediction:
        return predict(
            days, as_of=last_day, terms=asked, rng=np.random.default_rng(SEED),
            traits=_segment(view, days) if view.by else None,
        )  # fmt: skip

    return once(("predicted", last_day, asked, view.by), (days,), found)


def _segment(view: View, days: pl.DataFrame) -> pl.DataFrame:
    return days.select("user_id", *view.by).unique("user_id", keep="first", maintain_order=True)


def _with_segments(view: View, days: pl.DataFrame, customers: pl.DataFrame) -> pl.DataFrame:
    if not view.by:
        return customers
    segment = _segment(view, days)
    return customers.join(segment, on="user_id", how="left", maintain_order="left")


def _customers(view: View, days: pl.DataFrame, found: Prediction) -> pl.DataFrame:
    rows = _with_segments(view, days, found.customers).sort(
        "value", "user_id", descending=[True, False]
    )
    return rows.with_columns(
        first_order=dates_of(rows["first_day"].to_numpy()),
        last_order=dates_of(rows["last_day"].to_numpy()),
    ).select(
        *view.by, "user_id", "first_order", "last_order", "orders", "p_alive", "purchases", "spend",
        "value", "value_low", "value_high",
    )  # fmt: skip
