"""The kept daily state of a real store follows every change, and equals a full run."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lifeloop import Lifeloop
from lifeloop import lifecycle as lc
from lifeloop.lifecycle.daily import Daily
from lifeloop.screening import screened
from lifeloop.tables import TABLES, Source, read_source, table_of
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

    def beat(self, user: str, first: str, n: int, *, seconds: float) -> None:
        """Record ``n`` visits of one user, a steady pause apart."""
        start = datetime.fromisoformat(f"2025-01-{first}:00:00Z") + timedelta(seconds=7)
        with self.loop.store.bulk():
            for k in range(n):
                at = (start + timedelta(seconds=seconds * k)).isoformat()
                event = {"user_id": user, "type": "visit", "occurred_at": at}
                assert self.loop.record(event).accepted == 1

    def refresh(self) -> Refreshed:
        found = refresh(self.loop.store, self.loop.scenario, self.folder)
        self.equals_a_full_run(found.daily)
        return found

    def read(self, folder: Path | None) -> Source:
        loop = self.loop
        return read_source(loop.store, loop.scenario, moment=loop.moment(), folder=folder)

    def programs(self) -> list[str]:
        """Return whom the kept state leaves out as programs."""
        return list(json.loads((self.folder / MANIFEST).read_text("utf-8"))["bots"])

    def equals_a_full_run(self, daily: Daily) -> None:
        definitions = lc.StageDefinitions.of(self.loop.scenario)
        events = screened(self.loop.store.snapshot(), self.loop.scenario).events
        events = events.filter(pl.col("t_us").is_not_null())
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


def test_who_behaves_as_a_program_is_left_out_from_then_on_and_comes_back(shop: Shop) -> None:
    shop.beat("clock", "06T00", 40, seconds=18_000)  # 40 pauses of one length are not enough
    assert shop.refresh().how == "full"
    days = lc.stages(shop.refresh().daily, definitions=lc.StageDefinitions.of(shop.loop.scenario))
    assert "clock" in set(days["user_id"])
    shop.beat("clock", "14T08", 20, seconds=18_000)  # the next twenty go on as before
    shop.did("bob", "visit", "18T15")
    found = shop.refresh()
    assert (found.how, shop.programs()) == ("change", ["clock"])
    shop.did("clock", "visit", "19T03")
    shop.did("clock", "visit", "24T03")  # a pause of five days is no clock
    found = shop.refresh()
    assert (found.how, shop.programs()) == ("change", [])
    shop.beat("hasty", "25T10", 130, seconds=0.3)
    shop.beat("awake", "25T00", 22, seconds=3_600)
    assert shop.refresh().how == "change"
    assert shop.programs() == ["hasty"]
    shop.did("awake", "visit", "25T22")
    assert shop.refresh().how == "change"
    assert shop.programs() == ["awake", "hasty"]


FROM_DAYS = sorted(name for name, spec in TABLES.items() if spec.days)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_tables_from_the_daily_state_equal_those_from_the_events(shop: Shop, lang: str) -> None:
    people = shop.folder.parent / "people.csv"
    people.write_text("user_id,country\n" + "".join(f"u{k},DE\n" for k in range(7)), "utf-8")
    shop.loop.import_users(people)
    shop.beat("clock", "06T00", 60, seconds=18_000)
    shop.refresh()
    shop.did("anon-1", "visit", "22T10")
    shop.loop.identify("anon-1", "ada")
    shop.did("u3", "refund", "23T10", order_id="o9", value=4.0)
    assert shop.read(shop.folder).daily is None  # it is not that of the store any more
    shop.refresh()
    kept, events = shop.read(shop.folder), shop.read(None)
    assert kept.daily is not None
    assert len(FROM_DAYS) == 11
    for name in FROM_DAYS:
        answered: list[dict[str, Any]] = [
            {},
            {"members": True},
            {"by": "country"},
            {"grain": "week"},
        ]
        for asked in answered:
            got, want = (table_of(s, name, lang=lang, **asked) for s in (kept, events))
            assert_frame_equal(got.rows, want.rows)
            assert (got.notes, got.columns) == (want.notes, want.columns)
            assert (got.facts["read_from"], want.facts["read_from"]) == ("daily state", "events")
        single: list[dict[str, Any]] = [{"by": "channel"}, {"include_bots": True}]
        for asked in [*single, {"where": {"type": "visit"}}]:
            got, want = (table_of(s, name, lang=lang, **asked) for s in (kept, events))
            assert_frame_equal(got.rows, want.rows)
            assert got.facts["read_from"] == "events"
    assert table_of(kept, "traffic").facts["read_from"] == "events"


def test_the_loop_reads_the_state_it_kept_while_nothing_has_come(shop: Shop) -> None:
    assert shop.loop.table("stages").facts["read_from"] == "events"
    assert shop.loop.daily().how == "full"
    assert shop.loop.table("stages").facts["read_from"] == "daily state"
    shop.did("bob", "visit", "20T11")
    table = shop.loop.table("stages")
    assert table.facts["read_from"] == "events"
    assert "bob" in set(table.rows["user_id"])
