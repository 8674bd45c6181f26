"""Money that cannot be added as it stands: no price, another currency, another unit."""

from collections.abc import Mapping

import polars as pl

from lifeloop.prepare.step import Step, of

_SLIP = 100.0
_NEAR = 0.005
_PRICES = 5


def without_price(lines: pl.DataFrame, *, aside: bool) -> Step:
    """Find order lines of price 0 or less: gifts, damages, stock corrections, bad debt.

    A line that takes back what was paid (negative quantity, positive price) is not one.
    """
    price = pl.col("unit_price")
    money = pl.col("value")
    found = of(lines, pl.col("is_line") & ((price <= 0) | (price.is_null() & (money == 0))))
    below = int(of(lines, pl.col("is_line") & (price < 0)).sum())
    taken = int(of(lines.filter(found), pl.col("quantity") < 0).sum())
    return Step(
        "without_price",
        found,
        "set aside: nothing was paid for them" if aside else "flagged and kept",
        aside=aside,
        counts={"negative price": below, "negative quantity (stock corrections)": taken},
        shown=("line", "order_id", "item_id", "title", "quantity", "unit_price"),
    )


def currencies(
    lines: pl.DataFrame, *, currency: str, rates: Mapping[str, float], aside: bool
) -> Step:
    """Find money in another currency; what ``rates`` names is converted, before it is added."""
    given = pl.col("currency").str.to_uppercase()
    foreign = pl.col("is_line") & given.is_not_null() & (given != currency)
    unknown = of(lines, foreign & ~given.is_in([*rates, currency]))
    counts = {
        f"lines in {code}": n
        for code, n in lines.filter(of(lines, foreign))["currency"]
        .str.to_uppercase()
        .value_counts(sort=True)
        .iter_rows()
    }
    return Step(
        "unknown_currency",
        unknown,
        f"no rate to {currency} is given (clean.rates): "
        + ("set aside" if aside else "kept, and not added"),
        aside=aside,
        counts=counts,
        shown=("line", "order_id", "item_id", "value", "currency"),
    )


def unit_slips(lines: pl.DataFrame) -> Step:
    """Find prices that are a hundred times the usual price of their item, or a hundredth.

    Cents written as units: price / (median price of the item) within half a percent of 100 or
    1/100, for items of at least five prices. Flagged, never changed: only the owner knows.
    """
    price = pl.col("unit_price").abs()
    usual = price.median().over("item_id")
    known = (price > 0).sum().over("item_id") >= _PRICES
    ratio = price / usual
    near = ((ratio / _SLIP - 1).abs() < _NEAR) | ((ratio * _SLIP - 1).abs() < _NEAR)
    found = of(
        lines, pl.col("is_line") & pl.col("item_id").is_not_null() & (price > 0) & known & near
    )
    return Step(
        "unit_slips",
        found,
        "flagged: 100 times the item's usual price or a hundredth, as if cents were units",
        shown=("line", "item_id", "title", "unit_price"),
    )
