"""lifeloop value, forecast, churn and ltv, by their own command tree, in this process."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lifeloop import Lifeloop
from lifeloop.cli.app import app
from lifeloop.home import init
from lifeloop.simulate import world, write_world

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ahead")
    files = write_world(world(n_users=250, n_items=40, days=150, seed=6), folder / "data")
    init(folder / "shop", scenario="ecommerce")
    with Lifeloop.open(folder / "shop") as loop:
        loop.import_events(files["events"])
        loop.import_users(files["users"])
    return folder / "shop"


def run(shop: Path, *args: str) -> str:
    done = CliRunner().invoke(app, [*args, "-C", str(shop)])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    ("args", "name", "column"),
    [
        (["value"], "stage_value", "value"),
        (["value", "--of", "states", "--moves"], "move_value", "gain"),
        (["forecast", "--days", "14"], "forecast", "users"),
        (["forecast", "--of", "stages", "--backtest", "--days", "14"], "forecast_backtest", "mape"),
        (["churn", "--days", "28"], "churn_risk", "p_churn"),
        (["churn", "--survival", "--until", "next_order"], "survival", "survival"),
        (["churn", "--calibration", "--days", "28"], "churn_calibration", "observed"),
        (["ltv", "--by", "channel"], "predicted_ltv", "ltv"),
        (["ltv", "--customers", "--days", "90"], "customer_value", "p_alive"),
        (["ltv", "--age"], "ltv_by_age", "ltv"),
        (["ltv", "--backtest"], "ltv_backtest", "value_error"),
    ],
)
def test_every_command_prints_its_table_as_json(
    shop: Path, args: list[str], name: str, column: str
) -> None:
    body: dict[str, Any] = json.loads(run(shop, *args, "--json"))
    assert body["name"] == name
    assert body["reason"] is None, body["reason"]
    assert body["rows"]
    assert column in body["rows"][0]


def test_value_says_which_move_is_worth_most_and_what_that_is_not(shop: Path) -> None:
    told = " ".join(run(shop, "value", "--lang", "en").split())
    assert "the move worth most:" in told
    assert "it is not the effect of moving someone" in told
    moves = json.loads(run(shop, "value", "--moves", "--json"))["rows"]
    assert [row["gain"] for row in moves] == sorted([row["gain"] for row in moves], reverse=True)
    assert "推动某人的效果" in run(shop, "value", "--lang", "zh").replace("\n", "")


def test_csv_and_pictures_come_out(shop: Path, tmp_path: Path) -> None:
    assert run(shop, "forecast", "--days", "7", "--csv").startswith("date,state,users")
    run(shop, "churn", "--survival", "--png", str(tmp_path / "s.png"))
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
