"""Orders of each period: how many, of how many buyers, worth what, given back, and repeated."""

from collections.abc import Sequence
from typing import Any, Unpack

import narwhals as nw
import polars as pl

from lifeloop.lifecycle.frame import Events, Lazy, collect, kept
from lifeloop.lifecycle.money import MICRO
from lifeloop.lifecycle.options import Options, View, opened
from lifeloop.lifecycle.purchases import (
    check_currency,
    order_lines,
    order_table,
    unmatched_refunds,
)
from lifeloop.lifecycle.segments import splitting
from lifeloop.lifecycle.tables import finished, on_grid
from lifeloop.lifecycle.within import within_table

MONEY = ("gross", "given_back", "net", "refunds_paid", "unmatched_amount")
NOBODY = "nobody whose window is over"
COUNTS = ("orders", "buyers", "valued_orders", "refunded_orders", "unmatched_refunds")


@splitting
def orders(
    events: Events,
    *,
    order_types: Sequence[str] = ("purchase",),
    refund_types: Sequence[str] = ("refund",),
    repeat_within_days: int = 90,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return counts, money, AOV, frequency and the repeat-purchase rate per period.

    aov = net revenue / orders with net > 0; frequency = orders / distinct buyers, orders refunded
    in full are out of both; repeat rate = buyers with a second order day within W of the first /
    buyers whose W is over, in the period of their first order (orders of one day collapse; a
    buyer whose first order falls in the burn-in may have bought before and is out).
    net = gross − given back, on the day of the order; ``refunds_paid`` is the cash given back on
    the refund's own day.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``, ``value`` (money of the line), optionally ``order_id``,
        ``currency``.
    order_types, refund_types : sequence of str
        Event types that are order lines, and refunds of the order they name.
    repeat_within_days : int
        W of the repeat rate.
    members : bool
        Return the orders and refunds behind the cells: period, user_id, order_id, what (order,
        refunded_order; refund, on its own day; unmatched_refund, one of those once more), net,
        repeat (on a buyer's first order: converted, not_converted, waiting).
    **options
        See ``Options``.

    Returns
    -------
    polars.DataFrame
        (``by``,) period, orders, buyers, valued_orders (those with known money), refunded_orders
        (net ≤ 0), gross, given_back, net, refunds_paid, unmatched_refunds, unmatched_amount
        (refunds naming no order of the log: in none of gross, given_back, net), aov, frequency,
        reason (why those two are null), repeat_n, repeat_buyers, repeat_rate, repeat_rate_low,
        repeat_rate_high, repeat_reason, repeat_partial, partial.

    Raises
    ------
    InputError
        Money of several currencies.

    References
    ----------
    spec/lifecycle.md, section 2.
    """
    view = opened(events, options, needs=("value",))
    bought, back = tuple(order_types), tuple(refund_types)
    check_currency(view, bought, back, apart=True)
    every = kept(order_table(view, bought, back))
    table = view.with_period(every).filter(
        nw.col("period") >= view.first, nw.col("period") <= view.last
    )
    if members:
        return _members(view, table, every, (bought, back), repeat_within_days)
    cells = _order_cells(view, table)
    for extra in _refund_cells(view, bought, back):
        cells = cells.join(extra, on=[*view.by, "period"], how="full", coalesce=True)
    grid = on_grid(view, cells)
    filled = grid.with_columns(
        pl.col(COUNTS).fill_null(0),
        *(pl.col(name).fill_null(0) / MICRO for name in MONEY),
    )
    some, buyers = pl.col("valued_orders") > 0, pl.col("buyers") > 0
    filled = filled.with_columns(
        aov=pl.when(some).then(pl.col("net") / pl.col("valued_orders")),
        frequency=pl.when(buyers).then(pl.col("orders") / pl.col("buyers")),
        reason=pl.when(~buyers)
        .then(pl.lit("no orders with net > 0"))
        .when(~some)
        .then(pl.lit("no order has a known value")),
    )
    repeat = _repeat(view, every, repeat_within_days)
    keys = [*view.by, "period"]
    filled = filled.join(repeat, on=keys, how="left", maintain_order="left")
    values = [
        *("orders", "buyers", "valued_orders", "refunded_orders", "gross", "given_back", "net"),
        *("refunds_paid", "unmatched_refunds", "unmatched_amount", "aov", "frequency", "reason"),
        *(name for name in repeat.columns if name not in keys),
    ]
    return finished(view, filled, values, users=pl.col("buyers"))


def _order_cells(view: View, table: Lazy) -> pl.DataFrame:
    keys = [*view.by, "period"]
    standing = nw.col("stands").cast(nw.Int64)
    flagged = table.with_columns(
        standing=standing,
        with_money=standing * (nw.col("net") > 0).cast(nw.Int64),
        gone=1 - standing,
    )
    sums = flagged.group_by(*keys).agg(
        orders=nw.col("standing").sum(),
        valued_orders=nw.col("with_money").sum(),
        refunded_orders=nw.col("gone").sum(),
        gross=nw.col("gross").sum(),
        given_back=nw.col("given_back").sum(),
        net=nw.col("net").sum(),
    )
    buyers = (
        table.filter(nw.col("stands"))
        .group_by(*keys, "user_id")
        .agg()
        .group_by(*keys)
        .agg(buyers=nw.len())
    )
    return collect(sums).join(collect(buyers), on=keys, how="left")


def _refund_cells(view: View, bought: Sequence[str], back: Sequence[str]) -> list[pl.DataFrame]:
    keys = [*view.by, "period"]
    lines = order_lines(view.log, bought, back).filter(nw.col("refund") == 1)
    days = lines.group_by(*view.by, "day").agg(net=nw.col("net").sum())
    paid = view.with_period(days).group_by(*keys).agg(refunds_paid=-nw.col("net").sum())
    by_day = unmatched_refunds(view, bought, back).group_by(*view.by, "day")
    lost = view.with_period(by_day.agg(refunds=nw.len(), net=nw.col("net").sum()))
    lost = lost.group_by(*keys).agg(
        unmatched_refunds=nw.col("refunds").sum(), unmatched_amount=-nw.col("net").sum()
    )
    window = (pl.col("period") >= view.first) & (pl.col("period") <= view.last)
    return [collect(frame).filter(window) for frame in (paid, lost)]


def _first_orders(view: View, every: Lazy) -> Lazy:
    # Each buyer's first order day, and the next: user_id, by, day, done.
    standing = every.filter(nw.col("stands"))
    order_days = standing.group_by("user_id", *view.by, "day").agg()
    in_order: dict[str, Any] = {"order_by": "day"}
    second = order_days.with_columns(
        done=nw.col("day").shift(-1).over("user_id", **in_order),
        first=nw.col("day").min().over("user_id"),
    )
    return second.filter(
        nw.col("day") == nw.col("first"), nw.col("day") >= view.first_new_day
    ).drop("first")


def _repeat(view: View, every: Lazy, days: int) -> pl.DataFrame:
    buyers = _first_orders(view, every)
    table = within_table(view, buyers, within_days=days, members=False, reason=NOBODY)
    return table.select(
        *view.by,
        "period",
        repeat_n="n",
        repeat_buyers="converted",
        repeat_rate="rate",
        repeat_rate_low="rate_low",
        repeat_rate_high="rate_high",
        repeat_reason="reason",
        repeat_partial="partial",
    )


def _members(
    view: View, table: Lazy, every: Lazy, kinds: tuple[Sequence[str], Sequence[str]], days: int
) -> pl.DataFrame:
    columns = ["user_id", *view.by, "order_id", "period", "net"]
    place = ["day", "order_id", "order_key"]
    orders = collect(table).sort("user_id", *place)
    what = pl.when("stands").then(pl.lit("order")).otherwise(pl.lit("refunded_order"))
    told = within_table(
        view, _first_orders(view, every), within_days=days, members=True, reason=NOBODY
    )
    buying = orders.filter("stands").unique("user_id", keep="first", maintain_order=True)
    first = buying.select("user_id", *place[1:]).join(
        told.select("user_id", repeat="status"), on="user_id", how="inner"
    )
    orders = orders.join(first, on=["user_id", *place[1:]], how="left", nulls_equal=True)
    given = order_lines(view.log, *kinds).filter(nw.col("refund") == 1)
    rows = [orders.select(*columns, "repeat", what=what)]
    for name, lines in (("refund", given), ("unmatched_refund", unmatched_refunds(view, *kinds))):
        found = collect(view.with_period(lines).select(columns))
        none = pl.lit(None, dtype=pl.String)
        rows.append(found.with_columns(repeat=none, what=pl.lit(name)))
    both = pl.concat(rows).rename({"period": "ix"}).join(view.periods(), on="ix", how="inner")
    return (
        both.with_columns(net=pl.col("net") / MICRO)
        .select(*view.by, "period", "user_id", "order_id", "what", "net", "repeat")
        .sort(*view.by, "period", "user_id", "order_id", "what", "net", "repeat")
    )
