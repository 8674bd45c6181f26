"""The cleaning of a real shop, against the numbers that are known of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from lifeloop import Scenario
from lifeloop.cleaning import clean_file, write_cleaned
from lifeloop.events import ReadOptions, read
from lifeloop.prepare import Cleaned

SCENARIO = Scenario.load(
    {"name": "shop", "extends": "ecommerce", "locale": {"currency": "GBP", "zone": "Europe/London"}}
)


@pytest.fixture(scope="module")
def cleaned(shared_data: Callable[[str], Path]) -> Cleaned:
    path = shared_data("online_retail") / "online_retail.parquet"
    options = ReadOptions(zone="Europe/London", currency="GBP")
    return clean_file(path, "event", options=options, scenario=SCENARIO)


def test_known_counts_are_found(cleaned: Cleaned) -> None:
    report = cleaned.report
    assert report.rows == 541_909
    assert report.money == 9_747_747_934_000
    assert report.finding("without_person").found == 135_080
    assert report.finding("exact_duplicates").found == 5_268
    assert report.finding("without_price").found == 2_517
    returns = report.finding("returns").counts
    assert returns["negative quantity"] == 10_624
    assert returns["cancellations"] == 9_288


def test_rows_and_money_reconcile_line_by_line(cleaned: Cleaned) -> None:
    rows, money = cleaned.report.rows, cleaned.report.money
    for line in cleaned.report.ledger:
        rows, money = rows - line.rows, money - line.money
        assert (rows, money) == (line.rows_left, line.money_left)
        verdict = cleaned.rows.filter(pl.col("verdict") == line.name)
        assert verdict.height == line.rows
        assert float(verdict["value"].sum()) * 1e6 == pytest.approx(line.money, abs=1000)
    assert cleaned.kept.height == rows == cleaned.report.rows_after
    assert cleaned.kept["value"].sum() == pytest.approx(money / 1e6, abs=0.001)
    assert (rows, money) == (399_659, 8_265_476_933_000)


def test_the_figure_after_is_that_of_a_plain_query(
    cleaned: Cleaned, shared_data: Callable[[str], Path]
) -> None:
    raw = pl.read_parquet(shared_data("online_retail") / "online_retail.parquet")
    services = ["POST", "DOT", "M", "m", "C2", "D", "S", "BANK CHARGES", "AMAZONFEE", "CRUK", "B"]
    kept = raw.unique().filter(
        pl.col("CustomerID").is_not_null()
        & (pl.col("UnitPrice") > 0)
        & ~pl.col("StockCode").is_in(services)
    )
    assert kept.height == cleaned.report.rows_after
    money = (kept["Quantity"] * kept["UnitPrice"]).sum()
    assert money == pytest.approx(cleaned.report.money_after / 1e6, abs=0.001)


def test_nothing_leaves_the_history(cleaned: Cleaned) -> None:
    assert cleaned.rows.height == 541_909
    assert cleaned.rows["line"].to_list() == list(range(1, 541_910))
    assert cleaned.rows["value"].sum() == pytest.approx(9_747_747.934, abs=0.001)


def test_service_codes_are_told_from_products(cleaned: Cleaned) -> None:
    counts = cleaned.report.finding("service_lines").counts
    codes = {name.removeprefix("lines ") for name in counts}
    assert codes == {
        "POST", "DOT", "M", "m", "C2", "D", "S", "BANK CHARGES", "AMAZONFEE", "CRUK", "B",
    }  # fmt: skip


def test_refunds_take_back_no_more_than_was_bought(cleaned: Cleaned) -> None:
    rows = cleaned.kept
    refunds = rows.filter(pl.col("type") == "refund")
    matched = refunds.filter(pl.col("matched_quantity").is_not_null())
    assert matched.filter(pl.col("matched_quantity") > pl.col("quantity").abs() + 1e-9).is_empty()
    counts = cleaned.report.finding("unmatched_refunds").counts
    assert counts["refund lines"] == refunds.height
    assert counts["wholly matched"] / refunds.height > 0.85
    whole = matched.join(
        rows.select("line", bought_by="user_id", bought="item_id", bought_us="t_us"),
        left_on="refund_of_line",
        right_on="line",
    )
    assert whole.height == matched.height
    assert (whole["bought_by"] == whole["user_id"]).all()
    assert (whole["bought"] == whole["item_id"]).all()
    assert (whole["bought_us"] <= whole["t_us"]).all()


def test_the_two_famous_cancelled_orders_are_outliers_and_stay(cleaned: Cleaned) -> None:
    flagged = cleaned.rows.filter(pl.col("quantity_outlier"))
    assert {80_995.0, 74_215.0} <= set(flagged["quantity"].to_list())
    assert (flagged["quantity_capped"] < 1_000).all()
    assert cleaned.rows["quantity"].max() == 80_995


def test_wholesale_buyers_are_no_bots(cleaned: Cleaned) -> None:
    assert not any(f.name.startswith("bots") for f in cleaned.report.findings)


def test_cleaned_rows_are_imported_again_with_refunds_naming_their_orders(
    cleaned: Cleaned, tmp_path: Path
) -> None:
    some = cleaned.rows.filter(pl.col("item_id").is_in(["22423", "23843", "23166", "POST"]))
    part = replace(cleaned, rows=some)
    n = write_cleaned(part, tmp_path / "rows.parquet")
    batches = list(read(tmp_path / "rows.parquet", "event"))
    frame = pl.concat([b.frame for b in batches])
    assert frame.height == n == part.kept.height > 1_000
    assert not any(b.rejected for b in batches)
    refunds = frame.filter(pl.col("type") == "refund")
    assert refunds["order_id"].str.starts_with("C").sum() < 0.2 * refunds.height
    famous = refunds.filter(pl.col("item_id") == "23843").row(0, named=True)
    assert (famous["order_id"], famous["quantity"]) == ("581483", -80_995)
    assert json.loads(famous["context"])["refund_order_id"] == "C581484"
