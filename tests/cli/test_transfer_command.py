"""A whole store leaves by one command and arrives by another."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lifeloop.cli.app import app

LOG = "user_id,type,item_id,occurred_at,value\na,view,i,2024-01-01,\nb,purchase,j,30 Feb,2\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "log.csv").write_text(LOG, encoding="utf-8")
    for name in ("one", "two"):
        assert CliRunner().invoke(app, ["init", str(tmp_path / name)]).exit_code == 0
    return tmp_path / "one"


def run(folder: Path, *args: str, ok: bool = True) -> str:
    result = CliRunner().invoke(app, [*args, "-C", str(folder)])
    assert (result.exit_code == 0) is ok, result.output
    return result.output


def test_a_store_is_moved_and_a_second_time_is_nothing(shop: Path) -> None:
    run(shop, "import", "events", str(shop.parent / "log.csv"))
    run(shop, "identify", "phone", "a")
    file = str(shop.parent / "all.zip")
    told = json.loads(run(shop, "export", "--all", file, "--json"))["rows"]
    assert told == {"user": 0, "item": 0, "event": 1, "link": 1, "decision": 0, "refused": 1}
    two = shop.parent / "two"
    assert "accepted" in run(two, "import", "all", file)
    again = json.loads(run(two, "import", "all", file, "--json"))
    assert {kind: r["duplicate"] for kind, r in again.items()} == told
    assert "1 rows in quarantine" in run(two, "quarantine", "list")


def test_a_place_that_cannot_be_written_to_is_told(shop: Path) -> None:
    for command in (["export", "--all"], ["backup"]):
        result = CliRunner().invoke(app, [*command, str(shop / "no" / "x.zip"), "-C", str(shop)])
        assert result.exit_code == 1
        assert "cannot be written" in " ".join(result.output.split())


def test_a_person_or_everything_is_named_never_both(shop: Path) -> None:
    for words in ([], ["a", "--all", "x.zip"], ["--all", "x.zip", "--into", "y"]):
        assert "--all FILE" in run(shop, "export", *words, ok=False)
    assert not Path("x.zip").exists()
