"""The overview says what its tables say, and what it cannot know."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from lifeloop import Lifeloop
from lifeloop.lifecycle import SHOWN
from lifeloop.simulate import world, write_world
from lifeloop.tables import Overview


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lifeloop]:
    folder = tmp_path_factory.mktemp("shop")
    files = write_world(world(n_users=200, n_items=40, days=130, seed=2), folder / "data")
    with Lifeloop.open(folder / "shop", scenario="ecommerce") as opened:
        opened.import_events(files["events"])
        yield opened


@pytest.fixture(scope="module")
def found(loop: Lifeloop) -> Overview:
    return loop.lifecycle(grain="week")


def test_users_per_stage_are_those_of_the_stages(loop: Lifeloop, found: Overview) -> None:
    users = dict(found.stages.rows.select("stage", "users").iter_rows())
    assert list(users) == list(SHOWN)
    stages = loop.table("stages").rows
    assert {s: n for s, n in users.items() if n} == dict(stages.group_by("stage").len().rows())
    assert found.stages.rows["share"].sum() == pytest.approx(1.0)


def test_every_metric_is_the_newest_complete_cell_of_its_table(
    loop: Lifeloop, found: Overview
) -> None:
    rows = {row["metric"]: row for row in found.metrics.rows.iter_rows(named=True)}
    traffic = loop.table("traffic", grain="week").rows.filter(~pl.col("partial")).tail(2)
    assert [rows["visitors"]["before"], rows["visitors"]["value"]] == traffic["visitors"].to_list()
    assert rows["visitors"]["period"] == traffic["period"][-1]
    assert rows["visitors"]["change"] == pytest.approx(
        traffic["visitors"][1] / traffic["visitors"][0] - 1
    )
    conversion = loop.table("conversion", grain="week").rows
    conversion = conversion.filter(~pl.col("partial"), pl.col("rate").is_not_null())
    last = conversion.row(-1, named=True)
    assert rows["conversion_rate"]["value"] == pytest.approx(last["rate"])
    assert rows["conversion_rate"]["n"] == last["n"]
    back = loop.table("retention", grain="week", max_offset=1).rows
    back = back.filter(pl.col("offset") == 1, ~pl.col("partial"), pl.col("n") > 0)
    assert rows["next_period"]["value"] == pytest.approx(back["rate"][-1])
    assert rows["next_period"]["recent"] == pytest.approx(back["rate"].tail(8).to_list())


def test_each_metric_has_a_value_or_a_reason(found: Overview) -> None:
    for row in found.metrics.rows.iter_rows(named=True):
        assert (row["value"] is None) == (row["reason"] is not None), row
    reasons = dict(found.metrics.rows.select("metric", "reason").iter_rows())
    assert reasons["nps"] == "no answers: the log holds no event of type csat or nps"


def test_every_stage_has_a_key_metric(found: Overview) -> None:
    assert found.metrics.rows["stage"].unique(maintain_order=True).to_list() == [
        "acquisition", "activation", "retention", "conversion", "loyalty",
    ]  # fmt: skip


def test_money_of_two_currencies_spoils_only_the_money(tmp_path: Path) -> None:
    with Lifeloop.open(tmp_path, scenario="ecommerce") as loop:
        for day, currency in ((1, "USD"), (2, "EUR"), (20, "USD")):
            loop.record(
                {
                    "user_id": "ada", "type": "purchase", "item_id": "tea", "value": 3.0,
                    "currency": currency, "occurred_at": f"2025-01-{day:02d}T10:00:00Z",
                }
            )  # fmt: skip
        rows = {r["metric"]: r for r in loop.lifecycle().metrics.rows.iter_rows(named=True)}
    assert rows["net"]["reason"] == "money of several currencies cannot be added up"
    assert rows["visitors"]["value"] is not None


def test_an_empty_store_has_reasons_and_no_numbers(tmp_path: Path) -> None:
    with Lifeloop.open(tmp_path, scenario="ecommerce") as loop:
        found = loop.lifecycle(lang="zh")
    assert found.metrics.rows["value"].null_count() == found.metrics.rows.height
    assert set(found.metrics.rows["reason"]) == {"没有带时间的事件"}
    assert found.stages.rows["users"].sum() == 0


def test_why_shows_every_move_and_what_each_event_did(loop: Lifeloop) -> None:
    user = loop.table("stages").rows.filter(pl.col("orders") > 0)["user_id"][0]
    told = loop.why(user)
    place = loop.stage(user)
    assert told["moves"][-1]["to"] == place.stage
    moves = loop.table("transitions", members=True).rows.filter(pl.col("user_id") == user)
    assert [m["rule"] for m in told["moves"]] == moves.sort("date")["rule"].to_list()
    roles = {e["type"]: e["role"] for e in told["events"]}
    assert all(role != "passive" for role in roles.values())
    assert roles.get("purchase", "orders") == "orders"
    assert loop.why("nobody") == {"moves": [], "events": []}
