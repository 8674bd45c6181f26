"""Refused rows, repaired and tried again: stored once, whatever comes next."""

from pathlib import Path

import pytest

from lifeloop import Lifeloop

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
