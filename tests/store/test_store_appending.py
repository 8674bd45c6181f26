"""The rules of duplicates against a plain model of them, on random logs."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeloop.events.records import EVENT_SCHEMA, Event
from lifeloop.store import open_store
from lifeloop.testing.store_suite import LINE, NOW, VIEW, event_rows

Row = tuple[str, str | None, int]  # event id, order id, content


class PlainStore:
    """What spec/lifecycle.md says about duplicates, one row after the other."""

    def __init__(self) -> None:
        self.kept: list[Row] = []
        self.shown: list[bool] = []
        self.flags: list[str | None] = []
        self.duplicates = 0

    def append(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row in self.kept:
                self.duplicates += 1
                continue
            flag = None
            same_id = [n for n, kept in enumerate(self.kept) if kept[0] == row[0]]
            if same_id:
                flag = "conflict"
                for n in reversed(same_id):
                    if row[1] is not None and self.kept[n][1] == row[1]:
                        flag = "version"
                        self.shown[n] = False
                        break
            self.kept.append(row)
            self.shown.append(True)
            self.flags.append(flag)

    @property
    def visible(self) -> list[Row]:
        return [row for row, shown in zip(self.kept, self.shown, strict=True) if shown]


def as_event(row: Row) -> Event:
    event_id, order_id, content = row
    return replace(VIEW, event_id=event_id, order_id=order_id, value=float(content))


ROWS = st.tuples(
    st.sampled_from(["A", "B", "词"]), st.sampled_from([None, "o", "p"]), st.integers(0, 3)
)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "s.db"
    open_store(f"sqlite:///{path}").close()
    return path


@settings(max_examples=25, deadline=None)
@given(batches=st.lists(st.lists(ROWS, max_size=12), max_size=4))
def test_any_log_is_kept_as_the_rules_say(empty: Path, batches: list[list[Row]]) -> None:
    plain = PlainStore()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{shutil.copy(empty, folder)}")
        for batch in batches:
            before = len(plain.kept), plain.duplicates
            plain.append(batch)
            report = store.append(event_rows(*map(as_event, batch)), received_us=NOW)
            assert report.accepted == len(plain.kept) - before[0]
            assert report.duplicate == plain.duplicates - before[1]
            assert len(report.event_ids) == len(batch)
        history = store.histories(["u"])[0]
        held = store.snapshot().events
        again = [
            store.append(event_rows(*map(as_event, batch)), received_us=NOW) for batch in batches
        ]
        store.close()
    assert [(o, v) for o, v in zip(history.order_id, history.value, strict=True)] == [
        (order, float(content)) for _, order, content in plain.visible
    ]
    assert held["flag"].to_list() == [
        flag for flag, shown in zip(plain.flags, plain.shown, strict=True) if shown
    ]
    origins = held.select(pl.coalesce("refers_to", "event_id")).to_series()
    assert origins.to_list() == [row[0] for row in plain.visible]
    assert held["event_id"].n_unique() == held.height
    assert sum(report.accepted for report in again) == 0


def test_an_original_file_and_its_export_import_together_into_an_empty_store(
    tmp_path: Path,
) -> None:
    changed = replace(VIEW, event_id="E", item_id="other")
    first = open_store(f"sqlite:///{tmp_path / 'first.db'}")
    originals = event_rows(replace(VIEW, event_id="E"), changed).drop("flag")
    assert first.append(originals, received_us=NOW).accepted == 2
    export = first.snapshot().events.select(*EVENT_SCHEMA, "t_us")
    first.close()
    for n, rows in enumerate(([originals, export], [export, originals])):
        other = open_store(f"sqlite:///{tmp_path / f'{n}.db'}")
        report = other.append(pl.concat(rows), received_us=NOW)
        assert (report.accepted, report.duplicate) == (2, 2)
        assert len(report.event_ids) == 4
        assert set(report.event_ids) == set(export["event_id"])
        other.close()


def test_the_lines_of_the_file_are_told(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.db'}")
    rows = event_rows(LINE, replace(LINE, value=2.0), replace(VIEW, type=""))
    report = store.append(rows.with_columns(line=pl.Series([17, 18, 19])), received_us=NOW)
    assert [(r.reason, r.lines) for r in report.flagged] == [("version", (18,))]
    assert [(r.reason, r.lines) for r in report.reasons] == [("missing_type", (19,))]
    assert [row.line for row in store.quarantined()] == [19]
    store.close()


def test_a_content_that_the_caller_computed_is_the_one_compared(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.db'}")
    rows = event_rows(LINE)
    same = rows.with_columns(content=pl.lit("ab" * 16))
    assert store.append(same, received_us=NOW).accepted == 1
    other = rows.with_columns(value=pl.lit(9.0), content=pl.lit("ab" * 16))
    assert store.append(other, received_us=NOW).duplicate == 1
    store.close()
