"""Monthly predictions kept beside the store: made of what was known, followed by the stages."""

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from lifeloop import Lifeloop
from lifeloop.cli.app import app
from lifeloop.foretold import FOLDER, Foretold
from lifeloop.request import Request, ask

pytestmark = pytest.mark.slow

DAYS = 200
START = date(2024, 1, 10).toordinal()
SHOP: dict[str, Any] = {"extends": "ecommerce", "name": "shop", "locale": {"zone": "Asia/Tokyo"}}


def rows(seed: int = 4, users: int = 70) -> list[dict[str, Any]]:
    """Return customers who come at their own rate and leave one day."""
    rng = np.random.default_rng(seed)
    made: list[dict[str, Any]] = []
    for user in range(users):
        day, rate = int(rng.integers(0, 60)), rng.beta(1.5, 8.0) + 0.02
        leaves = day + int(rng.exponential(90)) + 1
        while day < min(leaves, DAYS):
            at = date.fromordinal(START + day).isoformat()
            order = f"o{len(made)}"
            value = round(float(rng.gamma(3.0, 8.0)) + 1, 2)
            made.append({"user_id": f"u{user:02}", "type": "purchase", "order_id": order,
                         "occurred_at": f"{at}T10:00:00+09:00", "value": value})  # fmt: skip
            day += int(rng.geometric(rate))
    return made


def write(path: Path, made: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in made) + "\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foretold")
    with Lifeloop.open(folder / "shop", scenario=SHOP) as loop:
        loop.import_events(write(folder / "rows.jsonl", rows()))
        loop.foretell()
    return folder / "shop"


def columns(home: Path) -> pl.DataFrame:
    (path,) = (home / FOLDER).glob("columns-*.parquet")
    return pl.read_parquet(path)


def test_every_month_has_a_column_with_the_version_of_its_model(shop: Path) -> None:
    manifest = json.loads((shop / FOLDER / "manifest.json").read_text("utf-8"))
    told = {row["month"]: row for row in manifest["months"]}
    assert list(told) == [f"2024-0{m}-01" for m in range(2, 8)]
    kept = columns(shop)
    for month, row in told.items():
        part = kept.filter(pl.col("month") == date.fromisoformat(month))
        assert len(part) == row["users"]
        if row["reason"] is None:
            assert set(part["version"]) == {row["version"]}
            assert row["version"].startswith(row["model"])
            assert row["estimates"]["purchases"]
    assert kept["p_alive"].is_between(0, 1).all()
    assert (kept["predicted_value"] >= 0).all()
    assert kept.filter(pl.col("month") == date(2024, 7, 1)).height > 50


def test_a_kept_month_stays_and_only_new_ones_are_made(shop: Path, tmp_path: Path) -> None:
    before = columns(shop)
    with Lifeloop.open(shop, scenario=SHOP) as loop:
        again = loop.foretell()
        assert again.new == 0
        late = [{"user_id": "u01", "type": "purchase", "order_id": "late", "value": 7.0,
                 "occurred_at": "2024-03-05T12:00:00+09:00"}]  # fmt: skip
        loop.import_events(write(tmp_path / "late.jsonl", late))
        assert loop.foretell().new == 0
    assert columns(shop).equals(before)


def test_a_column_knows_nothing_of_its_own_month_or_later(tmp_path: Path) -> None:
    made = rows()
    june = "2024-06-01T00:00:00+09:00"
    past = [row for row in made if row["occurred_at"] < june]
    refund = {"user_id": past[0]["user_id"], "type": "refund", "order_id": past[0]["order_id"],
              "occurred_at": "2024-06-01T00:00:00+09:00", "value": past[0]["value"]}  # fmt: skip
    found = []
    for name, log in (("past", past), ("whole", [*made, refund])):
        with Lifeloop.open(tmp_path / name, scenario=SHOP) as loop:
            loop.import_events(write(tmp_path / f"{name}.jsonl", log))
            loop.foretell()
        kept = columns(tmp_path / name)
        found.append(kept.filter(pl.col("month") <= date(2024, 5, 1)))
    assert found[0].equals(found[1])
    assert found[0].height > 100


def test_the_stages_of_one_and_of_all_follow_the_columns(shop: Path, tmp_path: Path) -> None:
    with Lifeloop.open(tmp_path / "plain", scenario=SHOP) as loop:
        loop.import_events(write(tmp_path / "rows.jsonl", rows()))
        plain = dict(loop.table("stages").rows.select("user_id", "stage").iter_rows())
    with Lifeloop.open(shop, scenario=SHOP) as loop:
        told = loop.table("stages").rows
        following = dict(told.select("user_id", "stage").iter_rows())
        one_by_one = {user: loop.stage(user).stage for user in following}
        counts = {row["stage"]: row["users"] for row in loop.stages()["stages"]}
        moved = {user: loop.why(user)["moves"][-1]["to"] for user in following}
    assert one_by_one == following
    assert {stage: n for stage, n in counts.items() if n} == {
        stage: list(following.values()).count(stage) for stage in set(following.values())
    }
    differs = {user for user in plain if plain[user] != following[user]}
    assert differs
    assert any("p_alive" in rule or "P(alive)" in rule for rule in told["rule"]), told["rule"]
    assert moved == following


def test_an_erased_person_is_gone_from_the_columns(tmp_path: Path) -> None:
    with Lifeloop.open(tmp_path / "shop", scenario=SHOP) as loop:
        loop.import_events(write(tmp_path / "rows.jsonl", rows(users=40)))
        loop.foretell()
        user = columns(tmp_path / "shop")["user_id"][0]
        n = columns(tmp_path / "shop").height
        assert loop.foretold.of(user) is not None
        loop.erase(user)
        assert loop.foretold.of(user) is None
    kept = columns(tmp_path / "shop")
    assert user not in kept["user_id"]
    assert 0 < kept.height < n


def test_months_without_a_model_say_why_and_other_terms_begin_anew(tmp_path: Path) -> None:
    once = [{**row, "user_id": f"x{n}"} for n, row in enumerate(rows(users=20))]
    with Lifeloop.open(tmp_path / "shop", scenario=SHOP) as loop:
        loop.import_events(write(tmp_path / "once.jsonl", once))
        done = loop.foretell()
        assert done.new == 0
        assert all("bought twice" in why for why in done.months["reason"])
        assert loop.foretold.table() is not None
        assert loop.stage("x1").stage
        loop.import_events(write(tmp_path / "rows.jsonl", rows()))
        assert loop.foretell().new > 3
    other = {**SHOP, "value": {"discount": 0.5}}
    with Lifeloop.open(tmp_path / "shop", scenario=other) as loop:
        assert loop.foretell().new > 3


def test_the_command_keeps_them_and_lists_the_months(shop: Path) -> None:
    (shop / "lifeloop.toml").write_text('extends = "ecommerce"\nlocale.zone = "Asia/Tokyo"\n')
    done = CliRunner().invoke(app, ["value", "--store", "--json", "-C", str(shop)])
    assert done.exit_code == 0, done.output
    body = json.loads(done.stdout)
    assert len(body["months"]) == 6
    listed = CliRunner().invoke(app, ["value", "--store", "-C", str(shop)])
    assert "2024-07-01" in listed.stdout


def test_models_are_told_what_held_at_each_moment(shop: Path) -> None:
    kept = columns(shop).sort("user_id", "month")
    user = kept["user_id"][0]
    mine = kept.filter(pl.col("user_id") == user)
    read = Foretold(shop, zone="Asia/Tokyo")
    found = read.of_users(["nobody", user, kept["user_id"][-1]])
    assert found is not None
    for month, value, p_alive in mine.select("month", "predicted_value", "p_alive").iter_rows():
        midnight = datetime(month.year, month.month, 1, tzinfo=ZoneInfo("Asia/Tokyo"))
        t_us = int(midnight.timestamp()) * 1_000_000
        now = found.at(np.array([1], np.int32), np.array([t_us], np.int64))[0]
        assert now == pytest.approx([value, p_alive], rel=1e-6)
        assert read.at(user, t_us) == pytest.approx([value, p_alive], rel=1e-6)
        before = read.at(user, t_us - 1)
        assert np.isnan(before).all() or before.tolist() != now.tolist()
    assert np.isnan(read.at("nobody", 2**60)).all()
    assert np.isnan(read.at(user, 0)).all()
    assert Foretold(shop / "elsewhere", zone="UTC").of_users([user]) is None


def test_the_ranker_is_told_at_the_cut_when_it_learns_and_now_when_it_answers(
    tmp_path: Path,
) -> None:
    bought = [{**row, "item_id": f"i{n % 7}"} for n, row in enumerate(rows())]
    with Lifeloop.open(tmp_path / "shop", scenario=SHOP) as loop:
        loop.import_events(write(tmp_path / "rows.jsonl", bought))
        loop.foretell()
        loop.train()
        history = loop.store.histories(["u01"])[0]
        asking = Request.of("u01", {}, t_us=loop.moment().as_of_us, seq=0, seed=1)
        given: dict[str, Any] = {"scenario": loop.scenario, "request": asking}
        asked = ask(loop.model(), history, predicted=loop.foretold.at, **given).queries
        assert asked.predicted is not None
        assert asked.predicted[0] == pytest.approx(loop.foretold.at("u01", asking.t_us))
        nobody = loop.store.histories(["u01"], limit=0)[0]
        silent = ask(loop.model(), nobody, predicted=loop.foretold.at, **given).queries
        assert silent.predicted is None
        ids = sorted({row["user_id"] for row in bought})
        told = loop.foretold.of_users(ids)
    assert told is not None
    cut = date(2024, 6, 15)
    as_of = (cut - date(1970, 1, 1)).days * 86_400_000_000
    users = np.arange(len(ids), dtype=np.int32)
    june = told.at(users, np.full(len(ids), as_of, np.int64))
    frame = columns(tmp_path / "shop")
    held = frame.filter(pl.col("month") <= cut).sort("month").unique("user_id", keep="last")
    want = dict(held.select("user_id", "p_alive").iter_rows())
    for name, (_, p_alive) in zip(ids, june.tolist(), strict=True):
        assert p_alive == pytest.approx(want.get(name, float("nan")), rel=1e-6, nan_ok=True)
