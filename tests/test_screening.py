"""Bots and services on the way from the store to models and tables."""

from pathlib import Path
from typing import Any

import polars as pl

from lifeloop import Lifeloop
from lifeloop.overview import stage_table

GOOGLE = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
START = 1_700_000_000_123_456


def shop(folder: Path, **more: Any) -> Lifeloop:
    return Lifeloop.open(folder, scenario={"name": "shop", "extends": "ecommerce", **more})


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(path)
    return path


def visits(tmp_path: Path) -> Path:
    rows = [
        {
            "user_id": "ada",
            "type": "view",
            "item_id": "1001",
            "occurred_us": START + i * i * 7_000_001,
        }
        for i in range(40)
    ]
    rows += [
        {"user_id": "flood", "type": "view", "item_id": f"{1000 + i}", "occurred_us": START + i}
        for i in range(300)
    ]
    return write(tmp_path / "events.parquet", rows)


def test_a_program_by_behaviour_is_out_of_stages_and_of_training(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as loop:
        loop.import_events(visits(tmp_path))
        assert set(stage_table(loop.store, loop.scenario, moment=loop.moment())["user_id"]) == {
            "ada"
        }
        assert loop.train()["users"] == 1
        assert loop.store.counts()["events"] == 340, "nothing is deleted"
    with shop(tmp_path / "other", clean={"bots": "keep"}) as loop:
        loop.import_events(visits(tmp_path))
        assert loop.train()["users"] == 2


def test_dates_without_a_time_of_day_are_no_haste(tmp_path: Path) -> None:
    rows = [
        {"user_id": "ada", "type": "view", "item_id": str(i), "date": f"2024-03-{1 + i // 150:02d}"}
        for i in range(600)
    ]
    with shop(tmp_path / "shop") as loop:
        loop.import_events(write(tmp_path / "e.parquet", rows))
        assert loop.train()["users"] == 1


def test_a_crawler_is_flagged_when_it_comes_in(tmp_path: Path) -> None:
    rows = [
        {"user_id": "crawler", "type": "view", "item_id": "1", "userAgent": GOOGLE},
        {"user_id": "ada", "type": "view", "item_id": "1", "userAgent": "Mozilla/5.0 (X11; Linux)"},
    ]
    with shop(tmp_path / "shop") as loop:
        loop.import_events(write(tmp_path / "e.parquet", rows))
        loop.record({"user_id": "live", "type": "view", "context": {"userAgent": GOOGLE}})
        loop.record({"user_id": "said", "type": "view", "is_bot": False, "userAgent": GOOGLE})
        flags = dict(loop.store.snapshot().events.select("user_id", "is_bot").iter_rows())
    assert flags == {"crawler": True, "ada": None, "live": True, "said": False}


def test_postage_is_bought_and_never_recommended(tmp_path: Path) -> None:
    items = [{"item_id": f"{1000 + i}", "title": f"Tea number {i}"} for i in range(30)]
    items.append({"item_id": "POST", "title": "POSTAGE"})
    lines = [
        {"user_id": f"u{u}", "type": "purchase", "item_id": item, "order_id": f"{u}",
         "value": 3.0, "occurred_us": START + u * 1_000_003}
        for u in range(60)
        for item in ("POST", f"{1000 + u % 30}", f"{1000 + (u + 1) % 30}")
    ]  # fmt: skip
    with shop(tmp_path / "shop") as loop:
        loop.import_items(write(tmp_path / "items.parquet", items))
        loop.import_events(write(tmp_path / "events.parquet", lines))
        manifest = loop.train()
        assert manifest["items"] == 30
        assert any("POST" in note for note in manifest["notes"])
        shown = {row.item_id for u in range(10) for row in loop.recommend(f"u{u}", k=20).items}
        assert shown
        assert "POST" not in shown
    with shop(tmp_path / "kept", clean={"product_items": ["POST"]}) as loop:
        loop.import_items(tmp_path / "items.parquet")
        loop.import_events(tmp_path / "events.parquet")
        assert loop.train()["items"] == 31
