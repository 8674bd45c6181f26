"""Refunds and cancellations matched to the lines they take back, quantity by quantity."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from lifeloop.prepare.step import Step, of

MATCH_SCHEMA = {
    "refund_row": pl.UInt32,
    "purchase_row": pl.UInt32,
    "quantity": pl.Float64,
    "rule": pl.String,
}
_LEAST = 1e-9


@dataclass(slots=True)
class _Bought:
    row: int
    t_us: int
    order_id: str | None
    price: float | None
    left: float


def match_refunds(lines: pl.DataFrame, *, refunds: tuple[str, ...], aside: bool) -> Step:
    """Match every refund line to earlier purchase lines of the same person and item.

    Taken in time order; a purchased piece is given back once. For each refund, in this order:
    the order it names; purchases at the same unit price, the newest first; purchases at any
    price, the newest first. One refund may take from several lines and one line may serve
    several refunds. A refund of an item bought before the data begins stays unmatched.

    Returns
    -------
    Step
        Found: refunds of which some pieces have no purchase. ``columns``: ``refund_of`` (the
        order that most of it was bought in), ``refund_of_line`` (its line) and
        ``matched_quantity``.
    """
    live = lines.with_row_index("row").filter(pl.col("verdict").is_null() & pl.col("is_line"))
    taken_back = live.filter(pl.col("type").is_in(list(refunds)))
    matches = matched(live, refunds=refunds)
    matches = matches.join(
        lines.with_row_index("purchase_row").select("purchase_row", "order_id", "line"),
        on="purchase_row",
        how="left",
    )
    best = (
        matches.sort("refund_row", "quantity", descending=[False, True])
        .group_by("refund_row", maintain_order=True)
        .agg(
            refund_of=pl.col("order_id").first(),
            refund_of_line=pl.col("line").first(),
            matched_quantity=pl.col("quantity").sum(),
            pieces=pl.len(),
        )
    )
    joined = lines.with_row_index("row").join(
        best, left_on="row", right_on="refund_row", how="left", maintain_order="left"
    )
    asked = _pieces()
    is_refund = of(joined, pl.col("row").is_in(taken_back["row"].implode()))
    whole = of(joined, pl.col("matched_quantity").fill_null(0.0) >= asked - _LEAST)
    some = of(joined, pl.col("matched_quantity").fill_null(0.0) > 0)
    unmatched = is_refund & ~whole
    money = int(joined.filter(is_refund & whole)["money"].sum())
    rules = dict(matches["rule"].value_counts(sort=True).iter_rows()) if len(matches) else {}
    return Step(
        "unmatched_refunds",
        unmatched,
        "set aside: their purchase is not in the data"
        if aside
        else "kept: the money left the till, though its purchase is not in the data",
        aside=aside,
        columns={
            name: joined[name] for name in ("refund_of", "refund_of_line", "matched_quantity")
        },
        counts={
            "refund lines": int(is_refund.sum()),
            "wholly matched": int((is_refund & whole).sum()),
            "partly matched": int((unmatched & some).sum()),
            "without a purchase": int((unmatched & ~some).sum()),
            "taken from several lines": int(best.filter(pl.col("pieces") > 1).height),
            "money wholly matched": money / 1e6,
            **{f"matched by {rule}": n for rule, n in rules.items()},
        },
        shown=("line", "user_id", "order_id", "item_id", "quantity", "value"),
    )


def matched(live: pl.DataFrame, *, refunds: tuple[str, ...]) -> pl.DataFrame:
    """Return one row per (refund line, purchase line) with the quantity taken [m].

    Parameters
    ----------
    live : DataFrame
        ``row``, ``user_id``, ``item_id``, ``type``, ``t_us``, ``order_id``, ``quantity``,
        ``unit_price``, in any order.
    """
    is_refund = pl.col("type").is_in(list(refunds))
    keyed = live.filter(
        pl.col("item_id").is_not_null()
        & (pl.col("user_id").is_not_null() | pl.col("order_id").is_not_null())
    ).with_columns(
        owner=pl.coalesce("user_id", pl.concat_str(pl.lit("order:"), "order_id")),
        pieces=_pieces(),
        is_refund=is_refund,
    )
    pairs = keyed.filter("is_refund").select("owner", "item_id").unique()
    wanted = keyed.join(pairs, on=["owner", "item_id"], how="semi").sort(
        "owner", "item_id", pl.col("t_us").fill_null(0), "is_refund", "row"
    )
    columns = ("row", "t_us", "order_id", "unit_price", "pieces", "is_refund")
    found: list[tuple[int, int, float, str]] = []
    for group in wanted.partition_by("owner", "item_id", maintain_order=True):
        found += _matched_group(group.select(columns).iter_rows())
    return pl.DataFrame(found, schema=MATCH_SCHEMA, orient="row")


def _pieces() -> pl.Expr:
    return pl.col("quantity").abs().fill_null(1.0)


def _matched_group(rows: Iterator[tuple[Any, ...]]) -> list[tuple[int, int, float, str]]:
    """Walk one person's lines of one item, oldest first."""
    bought: deque[_Bought] = deque()
    found: list[tuple[int, int, float, str]] = []
    for row, t_us, order_id, price, pieces, is_refund in rows:
        if not is_refund:
            bought.appendleft(_Bought(row, t_us or 0, order_id, price, pieces))
            continue
        left = pieces
        for rule in ("order", "price", "item"):
            for line in bought:
                if left <= _LEAST:
                    break
                if line.left <= _LEAST or not _fits(line, rule, order_id, price):
                    continue
                quantity = min(left, line.left)
                line.left -= quantity
                left -= quantity
                found.append((row, line.row, quantity, rule))
        while bought and bought[-1].left <= _LEAST:
            bought.pop()
    return found


def _fits(line: _Bought, rule: str, order_id: str | None, price: float | None) -> bool:
    if rule == "order":
        return order_id is not None and line.order_id == order_id
    if rule == "price":
        return price is not None and line.price is not None and abs(line.price - price) < 0.005
    return True
