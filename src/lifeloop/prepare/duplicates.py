"""Order lines that are there twice: exactly, or but for a text or a few seconds.

Five equal views are five views; only lines that carry money are looked at.
"""

import polars as pl

from lifeloop.prepare.step import Step, of

IDENTITY = ("event_id", "line", "source", "sent_us", "money", "verdict")
"""Columns that do not make two lines different."""


def exact_duplicates(lines: pl.DataFrame, *, aside: bool) -> Step:
    """Find order lines that repeat an earlier line in every column.

    The first of each group stays; a line with a ``line_id`` of its own is a line of its own.
    """
    content = [c for c in lines.columns if c not in IDENTITY]
    repeats = of(lines, pl.col("is_line") & ~pl.struct(content).is_first_distinct())
    groups = lines.filter(repeats).select(content).unique().height
    return Step(
        "exact_duplicates",
        repeats,
        "the first of each group is kept, the others are set aside"
        if aside
        else "kept: two equal lines may be two sales",
        aside=aside,
        counts={"groups": groups},
        shown=("line", "order_id", "item_id", "quantity", "value", "user_id"),
    )


def near_duplicates(
    lines: pl.DataFrame, *, within_s: float, refunds: tuple[str, ...], aside: bool
) -> Step:
    """Find lines that repeat an earlier one but for a text, or in a second order moments later.

    ``same_order``: one order, item, quantity and value, another description or time.
    ``sent_twice``: one user, item, quantity and value in another order within ``within_s``
    seconds, where every line of the later order has such a twin. Refunds are left out: a thing
    bought twice may come back twice.
    """
    work = lines.select(
        "user_id", "order_id", "item_id", "type", "quantity", "value", "line_id", "t_us"
    ).with_row_index("at")
    live = work.filter(of(lines, pl.col("is_line") & pl.col("verdict").is_null()))
    live = live.filter(~pl.col("type").is_in(list(refunds)))
    same = ["order_id", "item_id", "type", "quantity", "value", "user_id", "line_id"]
    named = live.filter(pl.col("order_id").is_not_null() & pl.col("item_id").is_not_null())
    in_order = named.filter(~pl.struct(same).is_first_distinct())["at"]
    again = _sent_twice(named, within_us=int(within_s * 1e6))
    at = set(in_order.to_list()) | set(again.to_list())
    found = work["at"].is_in(sorted(at)).alias("found")
    return Step(
        "near_duplicates",
        found,
        "set aside" if aside else "flagged and kept: near is not equal",
        aside=aside,
        counts={"same_order": in_order.len(), "sent_twice": again.len()},
        shown=("line", "order_id", "item_id", "quantity", "value", "title"),
    )


def _sent_twice(lines: pl.DataFrame, *, within_us: int) -> pl.Series:
    same = ["user_id", "item_id", "type", "quantity", "value"]
    ordered = lines.filter(pl.col("user_id").is_not_null() & pl.col("t_us").is_not_null()).sort(
        *same, "t_us", "at"
    )
    twins = ordered.with_columns(
        twin=(
            (pl.col("t_us") - pl.col("t_us").shift(1).over(same) <= within_us)
            & (pl.col("order_id") != pl.col("order_id").shift(1).over(same))
        ).fill_null(value=False)
    )
    whole = twins.with_columns(whole=pl.col("twin").all().over("user_id", "order_id"))
    return whole.filter("whole")["at"]
