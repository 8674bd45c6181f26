"""Refused rows, repaired and tried again: stored once, whatever comes next."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lifeloop import Lifeloop
from lifeloop.cli.app import app
from lifeloop.errors import NothingStored
from lifeloop.events.records import QuarantinedRow
from lifeloop.home import init
from lifeloop.repair_file import edits_of, read_edits, write_rows
from lifeloop.store import repairing

CSV = """\
user_id;type;value;time;item_id
ada;purchase;12,50;2024-03-01 10:00:00;tea
bo;purchase;1.234;2024-03-01 11:00:00;tea
bo;purchase;1.234;2024-03-01 11:00:00;tea
cy;pv;1,5;03/04/2024;mug
null;purchase;2,50;2024-03-01 12:00:00;tea
"""


@pytest.fixture
def loop(tmp_path: Path) -> Lifeloop:
    path = tmp_path / "e.csv"
    path.write_text(CSV, encoding="utf-8")
    loop = Lifeloop.open(tmp_path / "shop", scenario="ecommerce")
    report = loop.import_events(path, map={"type.view": "pv"})
    assert (report.accepted, report.rejected) == (1, 4)
    return loop


def values(loop: Lifeloop) -> list[float]:
    return sorted(loop.store.snapshot().events["value"].to_list())


def test_a_doubtful_number_waits_until_the_mark_is_said(loop: Lifeloop) -> None:
    report = loop.retry_quarantine()
    assert (report.accepted, report.rejected) == (0, 4), "never the plain reading of 1.234"
    report = loop.retry_quarantine(mapping={"value.decimal": ","})
    assert (report.accepted, report.rejected) == (2, 2)
    assert values(loop) == [12.5, 1234.0, 1234.0]
    assert {r.reason for r in report.reasons} == {"ambiguous_time", "placeholder_id"}


def test_a_time_format_and_the_types_of_the_file_are_kept(loop: Lifeloop) -> None:
    report = loop.retry_quarantine(mapping={"value.decimal": ",", "occurred_at.format": "%d/%m/%Y"})
    # The format holds for every time, so the ISO ones of the others are refused with it.
    events = loop.store.snapshot().events
    assert dict(zip(events["user_id"], events["type"], strict=True))["cy"] == "view"
    assert report.accepted == 1
    loop.retry_quarantine(mapping={"value.decimal": ","})
    assert loop.store.counts()["quarantined"] == 1


def test_a_retried_row_and_the_repaired_file_are_one(loop: Lifeloop, tmp_path: Path) -> None:
    loop.retry_quarantine(mapping={"value.decimal": ","})
    before = loop.store.counts()["events"]
    report = loop.import_events(tmp_path / "e.csv", map={"type.view": "pv", "value.decimal": ","})
    assert (report.accepted, report.duplicate) == (0, 3)
    assert loop.store.counts()["events"] == before


def test_a_live_event_keeps_the_time_at_which_it_came(tmp_path: Path) -> None:
    clock = iter(range(1_700_000_000_000_000, 1_800_000_000_000_000, 60_000_000))
    with Lifeloop.open(tmp_path / "s", scenario="ecommerce", clock=lambda: next(clock)) as loop:
        refused = loop.record({"user_id": "ada", "type": "purchase", "value": "1,234"})
        assert refused.rejected == 1
        assert loop.retry_quarantine(mapping={"value.decimal": "."}).accepted == 1
        (event,) = loop.store.snapshot().events.iter_rows(named=True)
        assert event["value"] == 1234
        assert event["t_us"] == 1_700_000_000_000_000
        assert event["received_us"] > event["t_us"]


def test_many_rows_are_retried_in_batches(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    rows = "".join(f"u{i},view,1.{i % 900 + 100},x\n" for i in range(12_000))
    path.write_text("user_id,type,value,note\n" + 'ada,view,"3,5",y\n' + rows, encoding="utf-8")
    with Lifeloop.open(tmp_path / "s", scenario="ecommerce") as loop:
        assert loop.import_events(path).rejected == 12_000
        report = loop.retry_quarantine(mapping={"value.decimal": "."})
        assert (report.accepted, report.rejected) == (12_000, 0)
        assert loop.store.counts()["quarantined"] == 0


# ---------------------------------------------------------------- edited

REFUSED = """\
Customer;what;Time;value;item
ada;purchase;30.02.2024;10;tea
bo;purchase;2024-03-01 10:00:00;abc;tea
bo;purchase;2024-03-01 10:00:00;abc;tea
=cmd();view;30.02.2024;;mug
"""
MAP = {"user_id": "Customer", "type": "what", "item_id": "item"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A shop with four refused rows of a file and a live one."""
    init(tmp_path / "shop", scenario="ecommerce")
    path = tmp_path / "e.csv"
    path.write_text(REFUSED, encoding="utf-8")
    with Lifeloop.open(tmp_path / "shop") as loop:
        with pytest.raises(NothingStored):
            loop.import_events(path, map=MAP)
        loop.record({"user_id": "cy", "type": "purchase", "value": "12,5,0", "item_id": "tea"})
        assert loop.store.counts()["quarantined"] == 5
    return tmp_path / "shop"


def run(folder: Path, *words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["quarantine", *words, "-C", str(folder), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def ids_of(folder: Path, **where: str) -> list[int]:
    words = [word for pair in where.items() for word in ("--where", "=".join(pair))]
    return [row["quarantine_id"] for row in run(folder, "list", *words)["rows"]]


def stored(folder: Path) -> list[tuple[str, Any]]:
    with Lifeloop.open(folder) as loop:
        events = loop.store.snapshot().events
    return sorted(zip(events["user_id"], events["value"], strict=True))


def test_fields_are_set_in_the_rows_that_are_meant(folder: Path) -> None:
    told = run(folder, "retry", "--set", "value=12.5", "--where", "user_id=cy", "--by", "eve")
    assert (told["accepted"], told["rejected"]) == (1, 0)
    told = run(folder, "retry", "--set", "value=3", "--where", "Customer ID=bo")
    assert told["accepted"] == 2, "two equal rows are two events"
    assert stored(folder) == [("bo", 3.0), ("bo", 3.0), ("cy", 12.5)]
    (first, second, third) = run(folder, "audit")["repairs"]
    assert (first["who"], first["changes"]) == ("eve", {"value": ["12,5,0", "12.5"]})
    assert first["raw"]["user_id"] == "cy"
    assert (second["outcome"], third["outcome"]) == ("accepted", "accepted")
    assert third["changes"] == {"value": ["abc", "3"]}
    again = run(folder, "retry", "--set", "value=3", "--where", "Customer ID=bo")
    assert (again["accepted"], again["duplicate"]) == (0, 0)


def test_what_is_still_wrong_stays_as_it_came_and_is_told(folder: Path) -> None:
    told = run(folder, "retry", "--set", "value=x", "--where", "user_id=cy")
    assert (told["accepted"], told["rejected"]) == (0, 1)
    assert "row" in told["notes"][0]
    (row,) = [r for r in run(folder, "list")["rows"] if r["raw"].get("user_id") == "cy"]
    assert row["raw"]["value"] == "12,5,0"
    assert run(folder, "audit")["repairs"] == []
    run_plain = CliRunner().invoke(
        app, ["quarantine", "retry", "--set", "value=1", "-C", str(folder)]
    )
    assert run_plain.exit_code == 2, "an edit of everything must be said"


def test_a_row_is_shown_with_its_fault_and_later_with_who_let_it_out(folder: Path) -> None:
    (row_id,) = ids_of(folder, user_id="cy")
    shown = run(folder, "show", str(row_id))
    assert shown["row"]["raw"]["value"] == "12,5,0"
    assert "12,5,0" in shown["row"]["fault"]
    run(folder, "retry", "--set", "value=12.5", "--where", f"id={row_id}", "--by", "eve")
    shown = run(folder, "show", str(row_id))
    assert shown["row"] is None
    assert shown["repairs"][0]["who"] == "eve"
    assert run(folder, "show", "999", code=1)["error"] == "UnknownId"


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_an_edited_table_is_put_back_exactly_once(folder: Path, tmp_path: Path, mark: str) -> None:
    path = tmp_path / "refused.csv"
    assert run(folder, "export", str(path))["rows"] == 5
    text = path.read_text("utf-8-sig")
    assert "'=cmd()" in text, "a spreadsheet must not run what somebody sent"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = []
    for row in rows:
        if row["user_id"] == "bo":
            row["value"] = "4.5"
        elif row["user_id"] == "cy":
            row["value"] = "12.5"
        elif row["user_id"] == "ada":
            continue  # a line that was deleted
        kept.append(row)
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]), delimiter=mark)
        out.writeheader()
        out.writerows(kept)
    told = run(folder, "import", str(path), "--by", "eve")
    assert (told["accepted"], told["rejected"], told["gone"]) == (3, 1, [])
    assert stored(folder) == [("bo", 4.5), ("bo", 4.5), ("cy", 12.5)]
    left = run(folder, "list")["rows"]
    assert sorted(row["raw"]["user_id"] for row in left) == ["=cmd()", "ada"]
    again = run(folder, "import", str(path))
    assert (again["accepted"], again["duplicate"], len(again["gone"])) == (0, 0, 3)
    assert len(stored(folder)) == 3


def test_rows_that_are_no_data_are_dropped_and_kept_in_the_audit(folder: Path) -> None:
    assert run(folder, "drop", "--where", "Customer ID=bo", "--yes") == {"dropped": 2}
    assert {row["outcome"] for row in run(folder, "audit")["repairs"]} == {"dropped"}
    assert run(folder, "list")["total"] == 3


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "#id,x\n,1\n", "#id,x\n1,a\n1,b\n", ""])
def test_a_table_that_is_not_of_quarantine_is_refused(
    folder: Path, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text, "utf-8")
    assert run(folder, "import", str(path), code=1)["error"] == "InputError"
    assert run(folder, "list")["total"] == 5


def test_any_row_survives_its_way_through_a_table(tmp_path: Path) -> None:
    raws: list[dict[str, Any]] = [
        {"a": "line\nbreak", "b": 'quo"te', "用户": "é;,\t"},
        {"a": None, "n": 1.5, "nested": {"x": [1, None]}, "flag": True},
        {"minus": "-5", "formula": "-5+3", "nul": "x\0y", "half": "\ud800"},
        {"'": "'=1", "": "no name"},
    ]
    with Lifeloop.open(tmp_path / "s", scenario="ecommerce") as loop:
        rows = [QuarantinedRow("event", "bad", raw, line=n) for n, raw in enumerate(raws)]
        loop.store.quarantine(rows, received_us=1)
        held = loop.store.quarantined()
    write_rows(held, tmp_path / "q.csv")
    edit = edits_of(read_edits(tmp_path / "q.csv"))
    assert [edit(row) for row in held] == [{}] * len(raws)


def test_the_erased_leave_the_audit_of_repairs(folder: Path) -> None:
    run(folder, "retry", "--set", "value=12.5", "--where", "user_id=cy")
    with Lifeloop.open(folder) as loop:
        assert len(loop.store.held("cy")["repaired_rows"]) == 1
        assert loop.erase("cy").audited == 1
        assert loop.store.repairs() == []


def test_a_retry_that_dies_after_any_write_stores_each_row_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit(row: QuarantinedRow) -> dict[str, str] | None:
        return {"value": "12.5"} if row.raw.get("user_id") == "cy" else None

    with Lifeloop.open(folder) as loop:
        monkeypatch.setattr(repairing, "released", _broken)
        with pytest.raises(RuntimeError):
            loop.retry_quarantine(edit=edit, who="eve")
        assert loop.store.counts()["events"] == 0, "stored and released together or not at all"
        assert loop.store.counts()["quarantined"] == 5
        monkeypatch.undo()
        held = loop.store.quarantined()
        assert loop.retry_quarantine(edit=edit, who="eve").accepted == 1
        monkeypatch.setattr(loop.store, "quarantined", lambda: held)  # a second one, at once
        assert loop.retry_quarantine(edit=edit, who="bob").duplicate == 1
        assert [row["who"] for row in loop.store.repairs()] == ["eve"]


def _broken(*_: object) -> int:
    raise RuntimeError("the power goes")
