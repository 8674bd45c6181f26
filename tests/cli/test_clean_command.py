import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from lifeloop.cli.app import app

CSV = """\
user,order_id,item,qty,price,date,description
ada,1,1001,2,3.00,2024-01-05 10:00:00,Green tea
ada,1,1001,2,3.00,2024-01-05 10:00:00,Green tea
bo,2,1002,1,5.00,2024-01-06 11:00:00,Mug
bo,2,POST,1,4.00,2024-01-06 11:00:00,Postage
bo,C3,1002,-1,5.00,2024-01-07 12:00:00,Mug
,4,1003,1,9.00,2024-01-08 13:00:00,Pot
"""


def run(*args: str) -> str:
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_file_is_cleaned_written_imported_and_cleaned_again(tmp_path: Path) -> None:
    file, shop, kept = tmp_path / "orders.csv", tmp_path / "shop", tmp_path / "kept.parquet"
    file.write_text(CSV, encoding="utf-8")
    run("init", str(shop))
    body = json.loads(run("clean", str(file), "-C", str(shop), "--out", str(kept), "--json"))
    assert body["before"] == {"rows": 6, "money": 25.0}
    assert body["after"] == {"rows": 3, "money": 6.0}
    names = {line["name"]: line["rows"] for line in body["ledger"]}
    assert names == {"exact_duplicates": 1, "service_lines": 1, "without_person": 1}
    run("import", "events", str(kept), "-C", str(shop), "-q")
    stored = json.loads(run("clean", "-C", str(shop), "--json"))
    assert stored["before"] == stored["after"] == body["after"]
    saved = json.loads((shop / "reports" / "cleaning_events.json").read_text("utf-8"))
    assert saved == stored


def test_the_table_shows_the_way_from_before_to_after(tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text(CSV, encoding="utf-8")
    shown = run("clean", str(file), "-C", str(tmp_path))
    assert "from before to after" in shown
    assert "exact_duplicates" in shown


def test_an_unknown_kind_or_a_wrong_ending_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text(CSV, encoding="utf-8")
    wrong = CliRunner().invoke(app, ["clean", str(file), "--kind", "goods"])
    assert wrong.exit_code == 2
    ending = CliRunner().invoke(
        app, ["clean", str(file), "-C", str(tmp_path), "--out", str(tmp_path / "x.csv")]
    )
    assert ending.exit_code == 1
    assert "Parquet" in ending.output


def test_stored_people_are_cleaned_by_the_scenario(tmp_path: Path) -> None:
    shop, file = tmp_path / "shop", tmp_path / "users.csv"
    run("init", str(shop))
    settings = shop / "lifeloop.toml"
    more = '[clean.missing.users]\nage = "median"\n[clean.normalise.users]\nage = "standard"\n'
    settings.write_text(settings.read_text("utf-8") + more, encoding="utf-8")
    rows = "".join(f"u{i},{20 + i}\n" for i in range(9))
    file.write_text(f"user_id,age\n{rows}u9,\n", encoding="utf-8")
    run("import", "users", str(file), "-C", str(shop), "-q")
    body = json.loads(run("clean", "--kind", "users", "-C", str(shop), "--json"))
    (age,) = [c for c in body["columns"] if c["column"] == "age"]
    assert (age["missing"], age["filled"], age["fill"]) == (1, 1, "median: 24.0")
    assert age["scale"] == "standard"
    written = tmp_path / "users.parquet"
    run("clean", str(file), "--kind", "users", "-C", str(shop), "--out", str(written), "--json")
    scaled = pl.read_parquet(written)["age_scaled"].to_numpy()
    assert scaled.std() == pytest.approx(1.0)
    assert scaled.mean() == pytest.approx(0.0)
