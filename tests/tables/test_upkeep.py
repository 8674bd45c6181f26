"""The kept daily state of a real store follows every change, and equals a full run."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lifeloop import Lifeloop
from lifeloop import lifecycle as lc
from lifeloop.lifecycle.daily import Daily
from lifeloop.tables.upkeep import MANIFEST, MOST_CHANGES, Refreshed, forget, refresh

SCENARIO = {"extends": "ecommerce", "name": "shop", "time": {"burn_in_days": 3}}


class Shop:
    """A store whose clock moves by hand, and the folder of its daily state."""

    def __init__(self, folder: Path) -> None:
        self.now_us = 1_740_000_000_000_000
        self.loop = Lifeloop.open(folder / "shop", scenario=SCENARIO, clock=lambda: self.now_us)
        self.folder = folder / "daily"

    def did(self, user: str, kind: str, day: str, **more: Any) -> None:
        name = "anonymous_id" if user.startswith("anon-") else "user_id"
        event = {name: user, "type": kind, "occurred_at": f"2025-01-{day}:00:00Z", **more}
        assert self.loop.record(event).accepted == 1

    def refresh(self) -> Refreshed:
        found = refresh(self.loop.store, self.loop.scenario, self.folder)
        self.equals_a_full_run(found.daily)
        return found

    def equals_a_full_run(self, daily: Daily) -> None:
        definitions = lc.StageDefinitions.of(self.loop.scenario)
        events = self.loop.store.snapshot().events.filter(pl.col("t_us").is_not_null())
        options: dict[str, Any] = {"as_of": self.now_us}
        for staged in (lc.stages, lc.stage_counts, lc.transitions):
            assert_frame_equal(
                staged(daily, definitions=definitions, **options),
                staged(events, definitions=definitions, **options),
            )
        passive = definitions.passive
        for function in (lc.active_users, lc.growth_accounting, lc.activity_states, lc.retention):
            assert_frame_equal(
                function(daily, passive=passive, **options),
                function(events, passive=passive, **options),
            )


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    for k in range(20):
        made.did(f"u{k}", "visit", f"{2 + k % 9:02d}T10")
    made.did("ada", "visit", "02T10")
    made.did("ada", "purchase", "03T10", item_id="tea", order_id="o1", value=4.0)
    made.did("anon-1", "visit", "04T10")
    return made


def test_a_new_day_touches_only_who_came(shop: Shop) -> None:
    assert (shop.refresh().how, shop.refresh().how) == ("full", "nothing")
    shop.did("ada", "add_to_cart", "20T10", item_id="tea")
    shop.did("bob", "visit", "20T11")
    found = shop.refresh()
    assert (found.how, found.users_touched) == ("change", 2)
    again = refresh(shop.loop.store, shop.loop.scenario, shop.folder)
    assert again.how == "nothing"
    shop.equals_a_full_run(again.daily)


def test_late_events_a_merge_a_refund_and_a_replaced_line_redo_their_users(shop: Shop) -> None:
    shop.refresh()
    shop.did("u3", "purchase", "02T01", item_id="tea", value=3.0)
    found = shop.refresh()
    assert (found.how, found.users_touched) == ("change", 1)
    shop.loop.identify("anon-1", "ada")
    found = shop.refresh()
    assert (found.how, found.users_touched) == ("change", 2)
    shop.did("ada", "refund", "25T10", order_id="o1", value=4.0)
    found = shop.refresh()
    assert (found.how, found.users_touched) == ("change", 1)
    orders = lc.stages(found.daily, definitions=found.daily.definitions, as_of=shop.now_us).filter(
        pl.col("user_id") == "ada"
    )
    assert orders["orders"].to_list() == [0]


def test_definitions_and_damage_lead_to_a_full_run(shop: Shop) -> None:
    shop.refresh()
    other = shop.loop.scenario.model_copy(
        update={"stages": shop.loop.scenario.stages.model_copy(update={"loyal_orders": 1})}
    )
    found = refresh(shop.loop.store, other, shop.folder)
    assert (found.how, found.why) == ("full", "there was no state of these definitions")
    shop.refresh()
    next(shop.folder.glob("base-*.days.parquet")).write_bytes(b"damaged")
    assert shop.refresh().how == "full"


def test_many_changes_are_folded_into_a_new_base(shop: Shop) -> None:
    shop.refresh()
    for k in range(MOST_CHANGES + 1):
        shop.did("bob", "visit", f"{11 + k % 5:02d}T{k % 24:02d}")
        found = refresh(shop.loop.store, shop.loop.scenario, shop.folder)
        assert found.how == "change"
    shop.equals_a_full_run(found.daily)
    manifest = json.loads((shop.folder / MANIFEST).read_text("utf-8"))
    assert manifest["changes"] == []
    assert len(list(shop.folder.glob("*.parquet"))) == 5


def test_an_erased_user_is_in_no_file(shop: Shop) -> None:
    shop.did("zoe-the-erased", "visit", "05T10")
    found = shop.refresh()
    left = shop.loop.store.counts()["events"]
    forget(shop.folder, shop.loop.scenario, {"zoe-the-erased"}, events=left)
    for path in shop.folder.glob("*.users.parquet"):
        assert "zoe-the-erased" not in set(pl.read_parquet(path)["user_id"])
    kept = refresh(shop.loop.store, shop.loop.scenario, shop.folder)
    assert kept.how == "nothing"
    stages = lc.stages(kept.daily, definitions=kept.daily.definitions, as_of=shop.now_us)
    assert stages.height == found.daily.people.height - 1
    assert "zoe-the-erased" not in set(stages["user_id"])


def test_vanished_events_are_noticed(shop: Shop) -> None:
    shop.refresh()
    manifest = json.loads((shop.folder / MANIFEST).read_text("utf-8"))
    manifest["events"] += 1  # as if there had been one event more
    (shop.folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    found = shop.refresh()
    assert (found.how, found.why) == ("full", "events have vanished")
