"""What users were worth so far: cumulative net margin of cohorts, and RFM of each user."""

from collections.abc import Sequence
from typing import Literal, Unpack, get_args

import narwhals as nw
import polars as pl

from lifeloop.errors import InputError
from lifeloop.lifecycle.frame import Events, Lazy, collect, kept
from lifeloop.lifecycle.money import MICRO
from lifeloop.lifecycle.options import SMALL_CELL, Options, View, opened
from lifeloop.lifecycle.purchases import check_currency, order_table
from lifeloop.lifecycle.segments import splitting
from lifeloop.lifecycle.within import first_days, new_users

Entry = Literal["seen", "order"]


@splitting
def observed_ltv(
    events: Events,
    *,
    order_types: Sequence[str] = ("purchase",),
    refund_types: Sequence[str] = ("refund",),
    margin: float = 1.0,
    entry: Entry = "seen",
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return cumulative net margin / cohort size by age, zero spenders included.

    ltv(cohort, a) = margin · Σ net of the cohort's orders in its periods 0 … a / cohort size.
    A refund counts on the day of its order. Compare equal ages only.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``, ``value``, optionally ``order_id``, ``currency``.
    order_types, refund_types : sequence of str
        Event types that are order lines, and refunds of the order they name.
    margin : float
        Share of net revenue that is margin.
    entry : "seen" | "order"
        A user joins the cohort of the first active period, or of the first net-positive order.
        Who joined in the burn-in is in none.
    members : bool
        Return cohort, age, user_id, value (cumulative) instead: everybody of the cohort at age 0,
        and at each later age those whose value changed.
    **options
        See ``Options``; with ``grain="day"`` ages are days.

    Returns
    -------
    polars.DataFrame
        (``by``,) cohort, age, n, value (cumulative, the whole cohort's), ltv, reason, partial,
        small.

    Raises
    ------
    InputError
        Money of several currencies, unknown ``entry``.
    """
    if entry not in get_args(Entry):
        raise InputError("unknown entry", got=entry, allowed=", ".join(get_args(Entry)))
    view = opened(events, options, needs=("value",))
    bought, back = tuple(order_types), tuple(refund_types)
    check_currency(view, bought, back, apart=True)
    table = kept(order_table(view, bought, back))
    people = kept(_people(view, table, entry))
    money = view.with_period(table.select("user_id", "net", "day"))
    money = money.group_by("user_id", "period").agg(net=nw.col("net").sum())
    earned = people.join(money, on="user_id", how="inner").filter(
        nw.col("period") >= nw.col("cohort"), nw.col("period") <= view.last
    )
    earned = earned.with_columns(age=nw.col("period") - nw.col("cohort"))
    if members:
        return _earners(view, people, earned, margin)
    keys = [*view.by, "cohort"]
    sizes = collect(people.group_by(*keys).agg(n=nw.len()))
    cells = collect(earned.group_by(*keys, "age").agg(net=nw.col("net").sum()))
    return _ltv(view, sizes, cells, margin)


def _people(view: View, table: Lazy, entry: Entry) -> Lazy:
    if entry == "seen":
        people = new_users(view)
    else:
        people = first_days(table.filter(nw.col("stands")), "user_id", *view.by)
        people = people.filter(nw.col("day") >= view.first_new_day)
    people = view.with_period(people).filter(
        nw.col("period") >= view.first, nw.col("period") <= view.last
    )
    return people.select("user_id", *view.by, cohort=nw.col("period"))


def _ltv(view: View, sizes: pl.DataFrame, cells: pl.DataFrame, margin: float) -> pl.DataFrame:
    keys = [*view.by, "cohort"]
    grid = view.triangle(sizes)
    table = (
        grid.join(sizes, on=keys, how="left")
        .join(cells, on=[*keys, "age"], how="left")
        .sort(*keys, "age")
        .with_columns(pl.col("n", "net").fill_null(0))
        .with_columns(value=pl.col("net").cum_sum().over(keys) / MICRO * margin)
    )
    table = table.with_columns(
        ltv=pl.when(pl.col("n") > 0).then(pl.col("value") / pl.col("n")),
        reason=pl.when(pl.col("n") == 0).then(pl.lit("no users in the cohort")),
        partial=view.incomplete(table["cohort"] + table["age"]),
        small=pl.col("n") < SMALL_CELL,
        cohort=view.dates(table["cohort"]),
    )
    return table.select(*keys, "age", "n", "value", "ltv", "reason", "partial", "small")


def _earners(view: View, people: Lazy, earned: Lazy, margin: float) -> pl.DataFrame:
    keys = [*view.by, "cohort", "user_id"]
    start = pl.lit(0, dtype=pl.Int64)
    entered = collect(people).select(*keys, age=start, net=start)
    money = collect(earned).select(*keys, "age", "net")
    rows = pl.concat([entered, money]).group_by(*keys, "age").agg(pl.col("net").sum())
    rows = rows.sort(*keys, "age")
    return rows.with_columns(
        cohort=view.dates(rows["cohort"]),
        value=pl.col("net").cum_sum().over(keys) / MICRO * margin,
    ).select(*view.by, "cohort", "age", "user_id", "value")


@splitting
def rfm(
    events: Events,
    *,
    order_types: Sequence[str] = ("purchase",),
    refund_types: Sequence[str] = ("refund",),
    bins: int = 5,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return recency, frequency and money of every buyer at ``as_of``, scored 1 to ``bins``.

    The score of a number is ⌈bins · rank / n⌉, the rank counted so that equal numbers share the
    highest: the best fifth of the buyers gets 5. For recency the most recent is best. Also the
    input of buy-till-you-die models, in periods of ``grain`` that hold an order: x = distinct
    periods − 1, t_x = last − first, T = period of ``as_of`` − first, and the mean total of the
    repeat periods (0 where x = 0).

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``, ``value``, optionally ``order_id``, ``currency``.
    order_types, refund_types : sequence of str
        Event types that are order lines, and refunds of the order they name.
    bins : int
        Number of scores.
    members : bool
        No effect: the table is one row per user already.
    **options
        See ``Options``; only net-positive orders of the periods ``start`` to ``end`` count.

    Returns
    -------
    polars.DataFrame
        (``by``,) user_id, recency_days, frequency (orders), monetary (net), r, f, m, x, t_x, T,
        repeat_value.

    References
    ----------
    spec/lifecycle.md, section 3 (CDNOW, input contract).
    """
    del members
    if bins < 2:
        raise InputError("bins is the number of scores", got=bins, allowed="2 or more")
    view = opened(events, options, needs=("value",))
    bought, back = tuple(order_types), tuple(refund_types)
    check_currency(view, bought, back)
    standing = view.with_period(order_table(view, bought, back).filter(nw.col("stands")))
    standing = standing.filter(nw.col("period") >= view.first, nw.col("period") <= view.last)
    periods = standing.group_by("user_id", *view.by, "period").agg(
        net=nw.col("net").sum(), orders=nw.len(), last_day=nw.col("day").max()
    )
    rows = collect(periods)
    first = pl.col("period").min()
    repeat = pl.col("net").filter(pl.col("period") > first)
    buyers = rows.group_by("user_id", *view.by).agg(
        recency_days=view.log.last_day - pl.col("last_day").max(),
        frequency=pl.col("orders").sum(),
        monetary=pl.col("net").sum() / MICRO,
        x=pl.len().cast(pl.Int64) - 1,
        t_x=pl.col("period").max() - first,
        T=view.period_of(view.log.last_day) - first,
        repeat_value=repeat.mean().fill_null(0) / MICRO,
    )
    scored = buyers.with_columns(
        r=_score(-pl.col("recency_days"), bins),
        f=_score(pl.col("frequency"), bins),
        m=_score(pl.col("monetary"), bins),
    )
    order = ["recency_days", "frequency", "monetary", "r", "f", "m", "x", "t_x", "T"]
    return scored.select(*view.by, "user_id", *order, "repeat_value").sort("user_id")


def _score(number: pl.Expr, bins: int) -> pl.Expr:
    rank = number.rank("max").cast(pl.Int64)
    return (rank * bins + pl.len() - 1) // pl.len()
