"""Lines that take money back, whatever they call themselves."""

import re

import polars as pl

from lifeloop.prepare.step import Step, of


def mark_returns(
    lines: pl.DataFrame, *, refunds: tuple[str, ...], cancellation_prefix: str
) -> Step:
    """Give order lines of negative quantity, and those of cancellations, the type of a refund.

    A cancellation is a line whose order id is ``cancellation_prefix`` and digits. A line of
    negative quantity without one is a return, or a stock correction where nothing was paid.

    Parameters
    ----------
    refunds : refund types of the scenario; the first is the type they get, and without any the
        type stays.
    """
    negative = pl.col("quantity") < 0
    cancelled = (
        pl.col("order_id").str.contains(f"^{re.escape(cancellation_prefix)}[0-9]+$")
        if cancellation_prefix
        else pl.lit(value=False)
    )
    cancelled = cancelled.fill_null(value=False)
    found = of(lines, pl.col("is_line") & (negative | cancelled))
    changed = found & ~lines["type"].is_in(list(refunds)).fill_null(value=False)
    columns = {}
    if refunds and changed.any():
        columns["type"] = of(lines, pl.when(changed).then(pl.lit(refunds[0])).otherwise("type"))
    return Step(
        "returns",
        found,
        f"read as {refunds[0]!r}, their money is taken back" if refunds else "kept as they are",
        columns=columns,
        counts={
            "negative quantity": int(of(lines, pl.col("is_line") & negative).sum()),
            "cancellations": int(of(lines, pl.col("is_line") & cancelled).sum()),
            "negative, no cancellation": int(
                of(lines, pl.col("is_line") & negative & ~cancelled).sum()
            ),
        },
        shown=("line", "order_id", "item_id", "quantity", "value", "user_id"),
    )
