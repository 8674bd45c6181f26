"""Judge the purchase models on real shops: python benchmarks/hold_out.py LOG.parquet ….

A log has ``user_id``, ``t_us`` (UTC) and ``value``, or is named online_retail.parquet or
transactions.parquet (Complete Journey) as published. The last fifth of the days is held out; days
are UTC. Refunded or free days (total not above 0) are left out and counted.
"""

import json
import sys

import polars as pl

from lifeloop.lifecycle.clv import hold_out


def by_day(path: str) -> pl.DataFrame:
    """Return user_id, day, value per buyer and day."""
    log = pl.read_parquet(path)
    if "InvoiceDate" in log.columns:
        log = log.filter(pl.col("CustomerID").is_not_null()).select(
            user_id=pl.col("CustomerID").cast(pl.String),
            at=pl.col("InvoiceDate"),
            value=pl.col("Quantity") * pl.col("UnitPrice"),
        )
    elif "household_id" in log.columns:
        log = log.select(
            user_id=pl.col("household_id").cast(pl.String),
            at=pl.col("transaction_timestamp"),
            value=pl.col("sales_value"),
        )
    else:
        log = log.select("user_id", "value", at=pl.from_epoch("t_us", time_unit="us"))
    day = pl.col("at").cast(pl.Date).cast(pl.Int32).cast(pl.Int64)
    return log.with_columns(day=day).group_by("user_id", "day").agg(pl.col("value").sum())


def main() -> None:
    """Print one JSON object per log."""
    for path in sys.argv[1:]:
        days = by_day(path)
        paid = days.filter(pl.col("value") > 0)
        first, last = int(str(paid["day"].min())), int(str(paid["day"].max()))
        out = hold_out(paid, split=last - (last - first) // 5, end=last, unit="week")
        told = {"log": path, "days_left_out": len(days) - len(paid), "chosen": out.chosen}
        print(json.dumps({**told, "models": out.models.to_dicts()}, indent=1))
        print(out.deciles)


if __name__ == "__main__":
    main()
