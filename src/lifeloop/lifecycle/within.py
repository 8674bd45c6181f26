"""Who did something within W days of something else: the shape of every conversion rate."""

from typing import Any

import narwhals as nw
import polars as pl

from lifeloop.errors import InputError
from lifeloop.lifecycle.frame import Lazy, collect, distinct
from lifeloop.lifecycle.options import View
from lifeloop.lifecycle.rates import with_rate
from lifeloop.lifecycle.tables import finished, members_of, on_grid


def within_table(
    view: View, people: Lazy, *, within_days: int, members: bool, reason: str
) -> pl.DataFrame:
    """Return per cohort period how many converted within W days, of those whose W is over.

    Who is still inside W is neither a success nor a failure, even when already converted.

    Parameters
    ----------
    people : lazy frame
        user_id, ``by``, day (of entering), done (day of converting, null if never).
    within_days : int
        W: converting on day + W still counts.
    members : bool
        Return period, status, user_id: ``converted``, ``not_converted`` or ``waiting``.
    reason : str
        Why the rate is null where nobody's W is over.

    Returns
    -------
    polars.DataFrame
        (``by``,) period, users (entered), n (W complete), converted, rate, rate_low, rate_high,
        reason, partial (somebody of the period could still be inside W).
    """
    if within_days < 0:
        raise InputError("within_days is negative", got=within_days)
    newest = view.last_complete_day
    done = (~nw.col("done").is_null()) & (nw.col("done") <= nw.col("day") + within_days)
    over = nw.col("day") + within_days <= newest
    rows = view.with_period(people.with_columns(over=over, hit=over & done)).filter(
        nw.col("period") >= view.first, nw.col("period") <= view.last
    )
    if members:
        status = (
            nw.when(~nw.col("over"))
            .then(nw.lit("waiting"))
            .otherwise(
                nw.when(nw.col("hit")).then(nw.lit("converted")).otherwise(nw.lit("not_converted"))
            )
        )
        return members_of(view, collect(rows.with_columns(status=status)), label="status")
    counts = collect(
        rows.group_by(*view.by, "period").agg(
            users=nw.len(),
            n=nw.col("over").cast(nw.Int64).sum(),
            converted=nw.col("hit").cast(nw.Int64).sum(),
        )
    )
    table = on_grid(view, counts)
    table = table.with_columns(pl.col("users", "n", "converted").fill_null(0))
    table = with_rate(table, hits="converted", reason=reason)
    waiting = [view.last_day(p) + within_days > newest for p in table["ix"].to_list()]
    table = table.with_columns(partial=pl.Series(waiting, dtype=pl.Boolean))
    values = ["users", "n", "converted", "rate", "rate_low", "rate_high", "reason"]
    return finished(view, table, values, users=pl.col("users"))


def first_days(frame: Lazy, *keys: str) -> Lazy:
    """Return the first day of every key: the keys and ``day``."""
    return frame.group_by(*keys).agg(day=nw.col("day").min())


def new_users(view: View) -> Lazy:
    """Return users whose first active day is known to be their first: user_id, ``by``, day."""
    firsts = first_days(view.active(), "user_id", *view.by)
    return firsts.filter(nw.col("day") >= view.first_new_day)


def day_of_kth(view: View, types: tuple[str, ...], k: int) -> Lazy:
    """Return the day on which each user did one of ``types`` for the k-th time: user_id, done."""
    acts = view.log.of(types)
    if k == 1:
        return acts.group_by("user_id").agg(done=nw.col("day").min())
    daily = distinct(acts, view.log.columns).group_by("user_id", "day").agg(times=nw.len())
    in_order: dict[str, Any] = {"order_by": "day"}
    so_far = daily.with_columns(so_far=nw.col("times").cum_sum().over("user_id", **in_order))
    return so_far.filter(nw.col("so_far") >= k).group_by("user_id").agg(done=nw.col("day").min())
