"""Retention: what goes is said before, with what the lifecycle loses; then it is gone."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lifeloop import Lifeloop
from lifeloop.cli.app import app
from lifeloop.home import Home
from lifeloop.retention import Retained, retain

DAY_US = 86_400_000_000
DAY_0 = 1_700_006_400_000_000  # a midnight of UTC
TODAY = DAY_0 + 400 * DAY_US


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Four people: long ago only, long ago and now, long ago and lately again, now only."""
    folder = tmp_path / "shop"
    folder.mkdir()
    settings = 'name = "s"\nextends = "ecommerce"\n[storage]\nkeep_events_days = 365\n'
    (folder / "lifeloop.toml").write_text(settings, "utf-8")
    days = {"gone": [1, 2, 3], "always": [5, 40, 395], "again": [3, 10, 300], "new": [390]}
    rows = [
        f"{user},purchase,i{day},{DAY_0 // 1_000_000 + day * 86_400},{user}-{day},10"
        for user, when in days.items()
        for day in when
    ]
    head = "user_id,type,item_id,occurred_at,order_id,value"
    (tmp_path / "events.csv").write_text("\n".join([head, *rows]) + "\n", "utf-8")
    with Lifeloop.open(folder, clock=lambda: TODAY) as loop:
        loop.import_events(tmp_path / "events.csv")
        loop.lake().extend()
    return folder


def retained(folder: Path, *, apply: bool) -> Retained:
    with Lifeloop.open(folder, clock=lambda: TODAY) as loop:
        home = Home(loop.home, loop.store.url, loop.scenario)
        return retain(loop.store, home, now_us=TODAY, apply=apply)


def shown(folder: Path) -> dict[str, int]:
    with Lifeloop.open(folder, clock=lambda: TODAY) as loop:
        return {row["stage"]: row["users"] for row in loop.stages()["stages"] if row["users"]}


def test_the_dry_run_says_exactly_what_the_removal_then_does(shop: Path) -> None:
    before = shown(shop)
    told = retained(shop, apply=False)
    assert shown(shop) == before
    assert told.applied is False
    # days 1, 2, 3 of gone; 5 of always; 3, 10 of again: six orders of 10
    assert (told.expired.events, told.orders, told.revenue) == (6, 6, 60.0)
    assert (told.users, told.vanished) == (4, 1)
    assert told.as_new == 1, "again comes back on day 300, more than 28 days after day 40"
    assert {name: a for name, (a, _) in told.stages.items() if a} == before
    done = retained(shop, apply=True)
    assert done.expired == told.expired
    assert shown(shop) == {name: b for name, (_, b) in told.stages.items() if b}
    with Lifeloop.open(shop, clock=lambda: TODAY) as loop:
        kept = sorted(loop.store.snapshot().events["order_id"])
        assert kept == ["again-300", "always-395", "always-40", "new-390"]
        assert sorted(loop.lake().snapshot().events["order_id"]) == kept
        stage = {name: loop.stage(name) for name in ("again", "gone")}
        assert stage["gone"].product_stage == "acquisition"


def test_what_moves_is_said_in_words(shop: Path) -> None:
    notes = " ".join(retained(shop, apply=False).notes)
    assert "begin at 2023-12-20" in notes
    assert "1 users were here before and come back later" in notes
    assert "6 orders worth 60.00 USD" in notes
    assert "1 users have no event left" in notes


def test_an_import_of_the_old_file_counts_them_as_expired(shop: Path, tmp_path: Path) -> None:
    retained(shop, apply=True)
    with Lifeloop.open(shop, clock=lambda: TODAY) as loop:
        report = loop.import_events(tmp_path / "events.csv")
    assert (report.accepted, report.duplicate, report.rejected) == (0, 4, 6)
    assert [(r.reason, r.count) for r in report.reasons] == [("expired", 6)]


def test_the_command_asks_for_yes(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifeloop.loop.now_us", _now(TODAY))

    def run(*options: str) -> str:
        done = CliRunner().invoke(app, ["retain", "-C", str(shop), *options])
        assert done.exit_code == 0, done.output
        return done.output

    assert "nothing was removed" in run()
    body = json.loads(run("--yes", "--json"))
    assert body["applied"] is True
    assert body["stages"]["loyalty"][1] == 0
    (shop / "lifeloop.toml").write_text('name = "s"\nextends = "ecommerce"\n', "utf-8")
    assert "everything is kept" in run()


def _now(at_us: int) -> Callable[[], int]:
    return lambda: at_us
