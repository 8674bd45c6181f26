import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lifeloop.cli.app import app

LOG = """\
1,2268318,2520377,pv,1511544070
1,2333346,2520771,buy,1511561733
2,2268318,2520377,cart,1511572885
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "UserBehavior.csv").write_text(LOG, encoding="utf-8")
    assert CliRunner().invoke(app, ["init", str(tmp_path / "shop")]).exit_code == 0
    return tmp_path / "shop"


def run(shop: Path, *args: str, ok: bool = True) -> str:
    result = CliRunner().invoke(app, [*args, "-C", str(shop)])
    assert (result.exit_code == 0) is ok, result.output
    return result.output


@pytest.mark.parametrize(
    "words", [["--preset", "taobao"], ["--preset=taobao"], ["from", "taobao"]], ids=str
)
def test_a_preset_is_named_by_an_option_or_a_word(shop: Path, words: list[str]) -> None:
    told = run(shop, "import", *words, str(shop.parent / "UserBehavior.csv"), "--json")
    parts = json.loads(told)["parts"]
    assert [(p["kind"], p["accepted"]) for p in parts] == [("item", 2), ("event", 3)]


def test_a_dry_run_stores_nothing(shop: Path) -> None:
    file = str(shop.parent / "UserBehavior.csv")
    told = json.loads(run(shop, "import", "--preset", "taobao", file, "--dry-run", "--json"))
    assert told["files"][-1]["event_types"] == {"view": 1, "purchase": 1, "add_to_cart": 1}
    shown = run(shop, "import", "--preset", "taobao", file, "--dry-run")
    assert "nothing was stored" in shown
    assert "missing value" in shown
    assert json.loads(run(shop, "status", "--json"))["events"] == 0


def test_a_dry_run_of_one_file_says_what_is_missing(shop: Path) -> None:
    file = shop.parent / "e.csv"
    file.write_text("user_id,type,item_id\nada@x.org,view,tea\nnull,view,tea\n", encoding="utf-8")
    told = json.loads(run(shop, "import", "events", str(file), "--dry-run", "--json"))
    (found,) = told["files"]
    assert found["refused"] == {"placeholder_id": 1}
    assert "occurred_us" in found["missing"]
    assert any("e-mail" in note for note in found["notes"])


def test_hashed_addresses_are_told(shop: Path) -> None:
    file = shop.parent / "e.csv"
    file.write_text("user_id,type,item_id\nAda@x.org,view,tea\n", encoding="utf-8")
    run(shop, "import", "events", str(file), "--hash-emails", "-q")
    told = json.loads(run(shop, "pseudonym", "ada@x.org", "--json"))
    stage = json.loads(run(shop, "stage", told["user_id"], "--json"))
    assert stage["user_id"] == told["user_id"]


def test_an_unknown_preset_ends_with_the_nearest_name(shop: Path) -> None:
    file = str(shop.parent / "UserBehavior.csv")
    assert "did you mean 'taobao'" in run(shop, "import", "--preset", "taoboa", file, ok=False)
