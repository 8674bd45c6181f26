"""Survival of users and of the wait for the next order, as tables of the lifecycle."""

from collections.abc import Sequence
from typing import Any, Literal, Unpack, get_args

import narwhals as nw
import numpy as np
import polars as pl

from lifeloop.errors import InputError, Unfit
from lifeloop.lifecycle.churn.cox import fit_cox
from lifeloop.lifecycle.churn.curve import kaplan_meier
from lifeloop.lifecycle.definitions import StageDefinitions
from lifeloop.lifecycle.frame import Events, collect
from lifeloop.lifecycle.ltv import purchase_days
from lifeloop.lifecycle.options import SMALL_CELL, Options, View, opened, segments
from lifeloop.lifecycle.path import CHURNED, NEVER
from lifeloop.lifecycle.stages import ended
from lifeloop.lifecycle.standing import standing

Span = Literal["churn", "next_order"]
SPANS = get_args(Span)
WEEK = 7


def survival(
    events: Events,
    *,
    definitions: StageDefinitions,
    until: Span = "churn",
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return the share of users not churned by each age, or of orders not yet followed by another.

    ``churn``: from the first active day to the first day of being churned, users first seen after
    the burn-in (of the others the age is not known). ``next_order``: from each day with a
    net-positive order to the customer's next such day; one customer counts once per order day, so
    that the interval, which takes them as independent, is too narrow where few customers order
    often. What has not ended by ``as_of`` counts for as long as it was watched.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``, for ``next_order`` also ``value``.
    definitions : StageDefinitions
        What is being churned, an order, a refund.
    until : "churn" | "next_order"
        What ends it.
    members : bool
        Return what the curve is made of: user_id, days, ended.
    **options
        See ``Options``; ``start`` and ``grain`` have no effect.

    Returns
    -------
    polars.DataFrame
        (``by``,) days, at_risk, ends, survival, survival_low, survival_high(, small).

    Raises
    ------
    Unfit
        Nobody to watch, or nobody whose end was seen.

    References
    ----------
    kaplan1958; greenwood1926.
    """
    view, rows = _spans(events, definitions, until, options)
    if members:
        return rows.select(*view.by, "user_id", "days", "ended").sort("user_id", "days")
    if rows.is_empty():
        raise Unfit("nobody to watch", hint="read a longer log, or one with new users")
    if not view.by:
        return _curve(rows)
    parts = []
    for key, part in rows.sort(view.by).group_by(view.by, maintain_order=True):
        if not part["ended"].any():
            continue
        named = [pl.lit(value, dtype=pl.String).alias(name)
                 for name, value in zip(view.by, key, strict=True)]  # fmt: skip
        small = pl.lit(part["user_id"].n_unique() < SMALL_CELL).alias("small")
        parts.append(_curve(part).select(*named, pl.all(), small))
    if not parts:
        raise Unfit("nobody has ended yet, so there is no curve", hint="read a longer log")
    return pl.concat(parts)


def churn_effects(
    events: Events,
    *,
    definitions: StageDefinitions,
    until: Span = "churn",
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return how much sooner or later users of each segment churn: Cox's hazard ratios.

    Against the most frequent value of each attribute in ``by``. Without ``by``: what users did in
    their first week (active days, whether they ordered), of those who were there for longer, who
    are watched from then on.

    Returns
    -------
    polars.DataFrame
        covariate, hazard_ratio (above 1: sooner), hazard_ratio_low, hazard_ratio_high, p,
        p_proportional (below 0.05: the ratio changes with age), reason (why a ratio is null: the
        covariate is the same for everybody), n, ends, concordance. With ``members`` as for
        ``survival``.

    Raises
    ------
    Unfit
        Nobody to watch, or what ``fit_cox`` refuses.
    MissingExtra
        lifelines is not installed.
    """
    view, rows = _spans(events, definitions, until, options)
    if members:
        return rows.select(*view.by, "user_id", "days", "ended").sort("user_id", "days")
    if rows.is_empty():
        raise Unfit("nobody to watch", hint="read a longer log, or one with new users")
    if view.by or until == "next_order":
        found = fit_cox(rows, duration="days", ended="ended", covariates=list(view.by))
    else:
        rows = _first_week(view, rows, definitions)
        found = fit_cox(
            rows, duration="days", ended="ended",
            covariates=["first_week_active_days", "first_week_order"],
        )  # fmt: skip
    return found.rows.with_columns(
        n=pl.lit(found.n, dtype=pl.Int64),
        ends=pl.lit(found.ends, dtype=pl.Int64),
        concordance=pl.lit(found.concordance),
    )


def _spans(
    events: Events, definitions: StageDefinitions, until: Span, options: Options
) -> tuple[View, pl.DataFrame]:
    if until not in SPANS:
        raise InputError("unknown end", got=until, allowed=", ".join(SPANS))
    if until == "next_order":
        return _between_orders(events, definitions.orders, definitions.refunds, options)
    view = opened(events, ended({**options, "burn_in_days": definitions.burn_in_days}))
    if view.log.lo_us is None:
        raise Unfit("nobody to watch", hint="import events first")
    stood = standing(view.log, definitions)
    first = stood.facts.first_active[stood.last]
    p = stood.path
    fell = np.flatnonzero(p.overlay == CHURNED)
    gone = np.full(len(first), NEVER)
    np.minimum.at(gone, p.user[fell], p.begin[fell])
    until_day = np.minimum(gone, view.log.last_day)
    rows = pl.DataFrame(
        {
            "user_id": stood.user_ids,
            "first": first,
            "days": (until_day - first).astype(np.float64),
            "ended": gone <= view.log.last_day,
        }
    )
    rows = rows.filter(pl.col("first") >= view.first_new_day, pl.col("first") < int(NEVER))
    rows = rows.filter(pl.col("days") > 0)  # first seen today: not watched for a day yet
    if view.by:
        rows = rows.join(segments(view), on="user_id", how="left", maintain_order="left")
    return view, rows


def _between_orders(
    events: Events, orders: Sequence[str], refunds: Sequence[str], options: Options
) -> tuple[View, pl.DataFrame]:
    view, days = purchase_days(events, orders, refunds, options)
    after = pl.col("day").shift(-1).over("user_id", order_by="day")
    rows = days.with_columns(after=after).with_columns(
        days=(pl.col("after").fill_null(view.log.last_day) - pl.col("day")).cast(pl.Float64),
        ended=pl.col("after").is_not_null(),
    )
    return view, rows.filter(pl.col("days") > 0)


def _first_week(view: View, rows: pl.DataFrame, d: StageDefinitions) -> pl.DataFrame:
    days = collect(
        view.active()
        .with_columns(order=nw.col("type").is_in(d.orders).cast(nw.Int64))
        .group_by("user_id", "day")
        .agg(order=nw.col("order").max())
    )
    days = days.join(rows.select("user_id", "first"), on="user_id", how="inner")
    week = days.filter(pl.col("day") < pl.col("first") + WEEK).group_by("user_id").agg(
        first_week_active_days=pl.len().cast(pl.Float64),
        first_week_order=pl.col("order").max().cast(pl.Float64),
    )  # fmt: skip
    longer = rows.filter(pl.col("days") > WEEK)  # nobody entered later or left before
    return longer.join(week, on="user_id", how="inner", maintain_order="left")


def _curve(rows: pl.DataFrame) -> pl.DataFrame:
    found: Any = kaplan_meier(rows["days"].to_numpy(), rows["ended"].to_numpy())
    return pl.DataFrame(
        {
            "days": found.time.astype(np.int64),
            "at_risk": found.at_risk.astype(np.int64),
            "ends": found.ends.astype(np.int64),
            "survival": found.survival,
            "survival_low": found.low,
            "survival_high": found.high,
        }
    )
