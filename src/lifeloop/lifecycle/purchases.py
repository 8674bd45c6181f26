"""Orders from order lines and refunds: what was paid, what was given back, what is left.

An order is what one user bought under one ``order_id``; lines without an id that carry the same
instant are one order. net = paid − given back; a refund belongs to the order it names and, for
cohorts and lifetime value, to that order's day.
"""

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import polars as pl

from lifeloop.errors import InputError
from lifeloop.lifecycle.frame import Lazy, Log, collect, distinct, of_types
from lifeloop.lifecycle.money import micros_of
from lifeloop.lifecycle.options import View
from lifeloop.lifecycle.segments import CURRENCY

ORDER = ["user_id", "order_id", "order_key"]
"""What identifies an order; ``order_key`` is the instant where there is no id."""


SUMS = ("net", "valued", "paid", "refund")
"""What is added up over the lines of an order."""


def order_lines(log: Log, orders: Sequence[str], refunds: Sequence[str]) -> Lazy:
    """Return one row per order line and refund.

    Returns
    -------
    lazy frame
        The log's columns, ``order_key``, ``refund`` (0/1), ``net`` (int64 millionths, minus for
        refunds, 0 where unknown), ``valued`` and ``paid`` (0/1).
    """
    lines = distinct(log.of((*orders, *refunds)), log.columns)
    order_id = nw.col("order_id") if "order_id" in log.columns else nw.lit(None).cast(nw.String)
    money = micros_of("value") if "value" in log.columns else nw.lit(None).cast(nw.Int64)
    return lines.with_columns(
        order_id=order_id,
        order_key=nw.when(order_id.is_null()).then(nw.col("t_us")).otherwise(None),
        refund=of_types(refunds).cast(nw.Int64),
        money=money,
    ).with_columns(
        net=nw.when(nw.col("refund") == 1)
        .then(-nw.col("money").abs())
        .otherwise(nw.col("money"))
        .fill_null(0),
        valued=(~nw.col("money").is_null()).cast(nw.Int64),
        paid=(1 - nw.col("refund")),
    )


def stands_expr() -> nw.Expr:
    """Return whether an order (summed net, valued, paid, refund) counts: net > 0.

    Where the money of every line is unknown it counts until something is taken back.
    """
    return (nw.col("paid") > 0) & (
        (nw.col("net") > 0) | ((nw.col("valued") == 0) & (nw.col("refund") == 0))
    )


def order_changes(log: Log, orders: Sequence[str], refunds: Sequence[str]) -> Lazy:
    """Return by how much each user's number of net-positive orders changes on each day.

    On each day an order's net is what was paid minus what had been taken back by then.

    Returns
    -------
    lazy frame
        user_id, day, d_orders.
    """
    daily = order_lines(log, orders, refunds).group_by(*ORDER, "day").agg(*_sums())
    if daily.implementation.is_polars():
        changes = _changes_in_order(daily.to_native())
    else:
        in_order: dict[str, Any] = {"order_by": "day"}
        running = daily.with_columns(nw.col(SUMS).cum_sum().over(*ORDER, **in_order))
        stood = running.with_columns(stands=stands_expr().cast(nw.Int32))
        before = nw.col("stands").shift(1).over(*ORDER, **in_order).fill_null(0)
        changes = stood.with_columns(change=nw.col("stands") - before)
    return changes.group_by("user_id", "day").agg(d_orders=nw.col("change").sum())


def _changes_in_order(daily: pl.LazyFrame) -> Lazy:
    # The days of each order with ``change``. One sort and sums over all orders, less what had come
    # before the order, are several times faster than sums over each order.
    rows = daily.sort(*ORDER, "day")
    another = pl.any_horizontal(pl.col(key).ne_missing(pl.col(key).shift(1)) for key in ORDER)
    rows = rows.with_columns(another=another)
    sums = pl.col(SUMS).cum_sum()
    earlier = pl.when("another").then(sums - pl.col(SUMS)).forward_fill()
    running: Lazy = nw.from_native(rows.with_columns(sums - earlier))
    stood = running.with_columns(stands=stands_expr().cast(nw.Int32)).to_native()
    before = pl.when("another").then(0).otherwise(pl.col("stands").shift(1))
    changes: Lazy = nw.from_native(stood.with_columns(change=pl.col("stands") - before))
    return changes


def order_table(view: View, orders: Sequence[str], refunds: Sequence[str]) -> Lazy:
    """Return one row per order as it stands at ``as_of``.

    Returns
    -------
    lazy frame
        user_id, ``by``, order_id, order_key, day (of its first line), gross, given_back, net
        (int64 millionths), stands (bool). Refunds that name no order of the log are left out
        (see ``unmatched_refunds``).
    """
    lines = order_lines(view.log, orders, refunds).with_columns(
        gross=nw.col("net") * nw.col("paid"),
        given_back=-nw.col("net") * nw.col("refund"),
        ordered_on=nw.when(nw.col("paid") == 1).then(nw.col("day")).otherwise(None),
    )
    table = lines.group_by(*ORDER, *view.by).agg(
        *_sums(),
        gross=nw.col("gross").sum(),
        given_back=nw.col("given_back").sum(),
        day=nw.col("ordered_on").min(),
    )
    return table.filter(~nw.col("day").is_null()).with_columns(stands=stands_expr())


def unmatched_refunds(view: View, orders: Sequence[str], refunds: Sequence[str]) -> Lazy:
    """Return the refunds that name no order of the log: user_id, ``by``, order_id, day, net.

    One without an ``order_id`` belongs to the order without one at the same instant, if any.
    """
    lines = order_lines(view.log, orders, refunds)
    bought, back = lines.filter(nw.col("paid") == 1), lines.filter(nw.col("refund") == 1)
    parts = []
    for key, named in (("order_id", True), ("order_key", False)):
        asked = back.filter(nw.col("order_id").is_null() != named)
        lost = asked.join(bought.select("user_id", key), on=["user_id", key], how="anti")
        parts.append(lost.select("user_id", *view.by, "order_id", "day", "net"))
    return nw.concat(parts)


def first_order_days(view: View, orders: Sequence[str], refunds: Sequence[str]) -> Lazy:
    """Return the day of each user's first net-positive order: user_id, done."""
    standing = order_table(view, orders, refunds).filter(nw.col("stands"))
    return standing.group_by("user_id").agg(done=nw.col("day").min())


def check_currency(
    view: View, orders: Sequence[str], refunds: Sequence[str], *, apart: bool = False
) -> str | None:
    """Return the one currency of the money in the log (None when not said), or refuse a mix.

    ``apart``: the money of segments is never added up, so each may have a currency of its own.
    """
    if "currency" not in view.log.columns:
        return None
    name = CURRENCY if "currency" in view.by else "currency"
    lines = view.log.of((*orders, *refunds))
    keys = view.by if apart else ()
    counts = lines.filter(~nw.col(name).is_null()).select(*keys, of=nw.col(name))
    found = collect(counts.group_by(*keys, "of").agg(n=nw.len())).sort("of")
    mixed = found.filter(pl.len().over(keys) > 1) if keys else found
    if len(mixed) > (0 if keys else 1):
        raise InputError(
            "money of several currencies cannot be added up",
            got=dict(found.group_by("of").agg(pl.col("n").sum()).sort("of").iter_rows()),
            hint='convert the values, or look at one: where=nw.col("currency") == "…"',
        )
    return str(found["of"][0]) if found["of"].n_unique() == 1 else None


def _sums() -> list[nw.Expr]:
    return [nw.col(name).sum() for name in SUMS]
