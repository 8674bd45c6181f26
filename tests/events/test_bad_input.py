"""Files that are wrong in ways that files are wrong."""

import json
import random
from pathlib import Path

import polars as pl
import pytest

from lifeloop import Lifeloop
from lifeloop.errors import InputError
from lifeloop.events import ReadOptions, read
from lifeloop.events.personal import emails, pseudonym
from lifeloop.events.repeats import ItemRepeats
from lifeloop.store.secret import derived


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def shop(tmp_path: Path, **more: object) -> Lifeloop:
    return Lifeloop.open(
        tmp_path / "shop", scenario={"name": "shop", "extends": "ecommerce", **more}
    )


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/Los_Angeles"])
@pytest.mark.parametrize(
    "time",
    ["2024-02-30 10:00:00", "2023-02-29", "0001-01-01 00:00:00", "0001-01-01T00:00:00+14:00",
     "9999-12-31 23:59:59", "9999-12-31T23:59:59-12:00", "2024-13-01", "2024-01-01 25:00:00",
     "9999年12月31日", "1969-12-31 10:00:00", "2101-06-01", "99999999999999999999"],
)  # fmt: skip
def test_impossible_times_are_refused_row_by_row(tmp_path: Path, time: str, zone: str) -> None:
    path = write(
        tmp_path / "e.csv", f"user_id,type,time\nada,view,{time}\nbo,view,2024-02-29 10:00:00\n"
    )
    (batch,) = read(path, "event", options=ReadOptions(zone=zone))
    assert batch.frame["user_id"].to_list() == ["bo"]
    assert [(r.reason, r.line) for r in batch.rejected] == [("bad_time", 2)]


def test_a_million_types_are_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    lines = "".join(f"u{i % 50},session-{i}\n" for i in range(1_000_000))
    path = write(tmp_path / "e.csv", "user_id,type\n" + lines)
    with shop(tmp_path) as loop:
        with pytest.raises(InputError, match="max_event_types") as caught:
            loop.import_events(path)
        assert vars(caught.value)["reason"] == "too_many_types"
        assert "--map type=" in str(caught.value)
        assert loop.store.counts()["events"] == 0


def test_types_are_limited_over_files_and_the_scenario_s_own_do_not_count(tmp_path: Path) -> None:
    with shop(tmp_path, intake={"max_event_types": 20}) as loop:
        first = "".join(f"ada,kind-{i}\n" for i in range(15)) + "ada,view\nada,purchase\n"
        loop.import_events(write(tmp_path / "a.csv", "user_id,type\n" + first))
        second = "".join(f"ada,other-{i}\n" for i in range(10))
        with pytest.raises(InputError, match="25 types"):
            loop.import_events(write(tmp_path / "b.csv", "user_id,type\n" + second))


def test_types_are_limited_over_small_files_restarts_and_processes(tmp_path: Path) -> None:
    """A limit that each process counts for itself lets a few more in with every restart."""
    some = {"max_event_types": 15}
    for n in range(6):
        with shop(tmp_path, intake=some) as loop, shop(tmp_path, intake=some) as other:
            for m in range(2):
                kinds = [f"t-{n}-{m}", "view", "x" * 3000, "nul\0", "\ud800"]
                for kind in kinds:
                    (loop if m else other).record({"user_id": "u", "type": kind})
            path = write(tmp_path / f"{n}.csv", f"user_id,type\nada,file-{n}\n")
            if n < 4:
                loop.import_events(path)
            else:
                with pytest.raises(InputError, match="16 types"):
                    loop.import_events(path)
            own = [t for t in loop.store.event_types() if t not in loop.scenario.events]
    assert len(own) == 15
    with shop(tmp_path, intake=some) as loop:
        refused = loop.record({"user_id": "u", "type": "one-more"})
        assert [r.reason for r in refused.reasons] == ["too_many_types"]
        assert loop.record({"user_id": "u", "type": "t-0-0"}).accepted == 1
        assert loop.record({"user_id": "u", "type": "purchase"}).accepted == 1


def test_what_was_there_before_the_count_is_counted_too(tmp_path: Path) -> None:
    many = "".join(f"ada,kind-{i}\n" for i in range(40))
    with shop(tmp_path, intake={"max_event_types": 100}) as loop:
        loop.import_events(write(tmp_path / "a.csv", "user_id,type\n" + many))
        for kind in ("event_type", "event_types_counted"):  # as a store of an older lifeloop
            for name in list(loop.store.kept.every(kind)):
                loop.store.kept.drop(kind, name)
    with shop(tmp_path, intake={"max_event_types": 41}) as loop:
        assert loop.record({"user_id": "u", "type": "kind-3"}).accepted == 1
        assert loop.record({"user_id": "u", "type": "new"}).accepted == 1
    with shop(tmp_path, intake={"max_event_types": 41}) as loop:
        for n in range(8):
            loop.record({"user_id": "u", "type": f"more-{n}"})
        own = set(loop.store.event_types()) - {"view"}
        assert len(own) <= 41 + 41 // 10  # a tenth may come before the first count


@pytest.mark.parametrize(
    "more",
    [{"user_id": "\ud800"}, {"type": "\ud800"}, {"text": "a\udfff"}, {"context": {"a": ["\ud800"]}},
     {"context": {"\ud800": 1}}, {"else": "\ud800"}],
)  # fmt: skip
def test_half_a_character_is_refused_and_kept(tmp_path: Path, more: dict[str, object]) -> None:
    with shop(tmp_path) as loop:
        report = loop.record({"user_id": "ada", "type": "view", **more})
        assert [r.reason for r in report.reasons] == ["bad_encoding"]
        assert dict(loop.store.quarantined()[0].raw) == {"user_id": "ada", "type": "view", **more}


@pytest.mark.parametrize("kind", ["one", "many"])
def test_a_live_event_with_an_address_as_id_is_stored_and_said(tmp_path: Path, kind: str) -> None:
    from lifeloop import intake

    event = {"user_id": "ada@example.org", "type": "view"}
    with shop(tmp_path) as loop:
        if kind == "one":
            report = loop.record(event)
        else:
            report = intake.record_many(
                loop.store, [event], scenario=loop.scenario, received_us=1, key=None
            )
        assert (report.accepted, [r.reason for r in report.flagged]) == (1, ["email_as_id"])
        assert any("--hash-emails" in note for note in report.notes)
    with shop(tmp_path / "2", intake={"emails": "hash"}) as loop:
        assert loop.record(event).flagged == ()


def test_a_file_of_which_nothing_is_stored_ends_the_command_and_says_each_line(
    tmp_path: Path,
) -> None:
    from typer.testing import CliRunner

    from lifeloop.cli.app import app

    path = write(
        tmp_path / "e.csv",
        "user_id,type,time\nada,view,2022-06-31 21:20:11\nnull,view,2022-06-24 21:20:11\n",
    )
    run = CliRunner().invoke
    assert run(app, ["init", str(tmp_path / "s")]).exit_code == 0
    told = run(app, ["import", "events", str(path), "-C", str(tmp_path / "s"), "--json"])
    assert told.exit_code == 1
    said = json.loads(told.stdout)
    assert {(r["reason"], *r["lines"]) for r in said["reasons"]} == {
        ("bad_time", 2),
        ("placeholder_id", 3),
    }
    write(path, "user_id,type,time\nada,view,2022-06-24 21:20:11\n")
    assert run(app, ["import", "events", str(path), "-C", str(tmp_path / "s")]).exit_code == 0


def test_decimal_commas_are_read_and_what_is_doubtful_is_kept_for_repair(tmp_path: Path) -> None:
    path = write(
        tmp_path / "e.csv",
        "user_id;type;value\nada;purchase;12,50\nbo;purchase;1.234,56\ncy;purchase;1.234\n"
        "di;purchase;7\n",
    )
    with shop(tmp_path) as loop:
        report = loop.import_events(path)
        assert (report.accepted, report.rejected) == (3, 1)
        assert [(r.reason, r.lines) for r in report.reasons] == [("ambiguous_number", (4,))]
        assert any("decimal commas" in note for note in report.notes)
    (batch,) = read(path, "event", options=ReadOptions(mapping={"value.decimal": ","}))
    assert batch.frame["value"].to_list() == [12.5, 1234.56, 1234.0, 7.0]


def test_an_e_mail_as_id_is_said_and_can_be_hashed(tmp_path: Path) -> None:
    path = write(
        tmp_path / "e.csv",
        "user_id,type,item_id\nAda@Example.org,view,tea\nada@example.org ,view,mug\nu7,view,tea\n",
    )
    with shop(tmp_path) as loop:
        report = loop.import_events(path)
        assert [(r.reason, r.count, r.lines) for r in report.flagged if r.reason != "untimed"] == [
            ("email_as_id", 2, (2, 3))
        ]
        assert any("--hash-emails" in note for note in report.notes)
    write(path, path.read_text("utf-8") + "bo@example.org,view,null\n")
    with Lifeloop.open(tmp_path / "other", scenario="ecommerce") as loop:
        report = loop.import_events(path, hash_emails=True)
        (refused,) = loop.store.quarantined()
        assert refused.raw["user_id"] == loop.pseudonym("bo@example.org")
        assert not any(r.reason == "email_as_id" for r in report.flagged)
        known = loop.pseudonym("ada@example.org")
        assert len(loop.store.histories([known])[0]) == 2, "one mailbox is one person"
        users = set(loop.store.snapshot().events["user_id"])
        assert users == {known, "u7"}
        key = tmp_path / "other" / "project.key"
        assert key.stat().st_mode & 0o077 == 0
        own = derived(key.read_text("ascii").strip().encode(), "ids")
        assert known == pseudonym(" ADA@example.org", key=own)
        assert known != pseudonym("ada@example.org", key=b"another")


def test_a_scenario_can_hash_every_e_mail_on_its_way_in(tmp_path: Path) -> None:
    with shop(tmp_path, intake={"emails": "hash"}) as loop:
        loop.record({"user_id": "ada@example.org", "type": "view", "item_id": "tea"})
        assert len(loop.store.histories([loop.pseudonym("ada@example.org")])[0]) == 1
        assert len(loop.store.histories(["ada@example.org"])[0]) == 0


def test_only_addresses_are_addresses() -> None:
    ids = pl.Series(
        ["a@b.co", "用户@例子.中国", "@handle", "a@b", "a/b@c.de/f", None, "x y@z.com", "7"]
    )
    assert emails(ids).to_list() == [True, True, False, False, False, False, False, False]


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        ("user_id,type,date,time", ["ada,view,2024-03-01,09:30:15", "bo,view,2024-03-02,21:05:00"]),
        ("user_id,type,time,date", ["ada,view,09:30:15,2024-03-01", "bo,view,21:05:00,2024-03-02"]),
        ("user_id,type,InvoiceDate,Time",
         ["ada,view,2024/3/1,9:30:15 AM", "bo,view,2024/3/2,9:05 PM"]),
        ("user_id,type,日期,时间",
         ["ada,view,2024年3月1日,09:30:15", "bo,view,2024年3月2日,21:05"]),
        ("user_id,type,date,time", ["ada,view,20240301,09:30:15", "bo,view,20240302,21:05:00"]),
    ],
)  # fmt: skip
def test_a_date_and_a_time_of_day_are_one_moment(
    tmp_path: Path, head: str, rows: list[str]
) -> None:
    path = write(tmp_path / "e.csv", "\n".join([head, *rows]) + "\n")
    (batch,) = read(path, "event")
    assert batch.frame["occurred_us"].to_list() == [1_709_285_415_000_000, 1_709_413_500_000_000]
    assert any("together" in note for note in batch.notes)
    assert batch.frame["context"].null_count() == 2, "both parts are used up"


def test_midnight_and_noon_in_twelve_hours(tmp_path: Path) -> None:
    path = write(
        tmp_path / "e.csv",
        "user_id,type,date,time\na,view,2024-03-01,12:00 AM\na,view,2024-03-01,12:00 PM\n"
        "a,view,2024-03-01,\n",
    )
    (batch,) = read(path, "event")
    first = batch.frame["occurred_us"][0]
    assert batch.frame["occurred_us"].to_list() == [first, first + 12 * 3_600_000_000, first]


def test_a_whole_moment_beside_a_date_stays_alone(tmp_path: Path) -> None:
    path = write(
        tmp_path / "e.csv", "user_id,type,timestamp,date\nada,view,2024-03-01 09:30:15,2024-03-01\n"
    )
    (batch,) = read(path, "event")
    assert batch.frame["occurred_us"].to_list() == [1_709_285_415_000_000]
    assert not any("together" in note for note in batch.notes)


def test_two_columns_can_be_joined_by_the_mapping(tmp_path: Path) -> None:
    path = write(tmp_path / "e.csv", "user_id,type,d,c\nada,view,2024-03-01,09:30:15\n")
    options = ReadOptions(mapping={"occurred_at": "d+c"})
    (batch,) = read(path, "event", options=options)
    assert batch.frame["occurred_us"].to_list() == [1_709_285_415_000_000]


def test_a_date_and_time_of_parquet_types(tmp_path: Path) -> None:
    from datetime import date, time

    frame = pl.DataFrame(
        {
            "user_id": ["ada"],
            "type": ["view"],
            "date": [date(2024, 3, 1)],
            "time": [time(9, 30, 15)],
        }
    )
    frame.write_parquet(tmp_path / "e.parquet")
    (batch,) = read(tmp_path / "e.parquet", "event")
    assert batch.frame["occurred_us"].to_list() == [1_709_285_415_000_000]


def test_a_log_imported_as_items_is_said(tmp_path: Path) -> None:
    rows = "".join(f"u{i},p{i % 3},2024-03-0{1 + i % 9},{i}\n" for i in range(30))
    path = write(tmp_path / "log.csv", "user_id,item_id,timestamp,price\n" + rows)
    with shop(tmp_path) as loop:
        report = loop.import_items(path)
    changed = [r for r in report.flagged if r.reason == "item_changed"]
    assert changed[0].count == 27
    (note,) = [n for n in report.notes if "another" in n or "earlier row" in n]
    assert "import events" in note
    assert "27 of 30" in note


def test_a_catalogue_with_a_repeated_row_is_not_a_log(tmp_path: Path) -> None:
    path = write(tmp_path / "items.csv", "item_id,title\na,Tea\nb,Mug\na,Tea\n")
    with shop(tmp_path) as loop:
        report = loop.import_items(path)
    assert not report.flagged
    assert (report.accepted, report.duplicate) == (2, 1)


def test_repeats_are_the_same_however_the_file_is_cut() -> None:
    rng = random.Random(5)
    rows = [(f"p{rng.randrange(20)}", rng.randrange(3)) for _ in range(300)]
    frame = pl.DataFrame(rows, schema=["item_id", "price"], orient="row")
    seen: dict[str, set[int]] = {}
    expected = []
    for item, price in rows:
        expected.append(item in seen and price not in seen[item])
        seen.setdefault(item, set()).add(price)
    for size in (300, 7, 1):
        repeats = ItemRepeats()
        pieces = [repeats.changed(frame[at : at + size]) for at in range(0, 300, size)]
        assert [bool(x) for piece in pieces for x in piece] == expected
        repeats.close()


def test_a_backfill_of_last_year_makes_nobody_new_today(tmp_path: Path) -> None:
    now = 1_764_000_000_000_000  # November 2025
    path = write(
        tmp_path / "e.csv",
        "user_id,type,item_id,time\nada,purchase,tea,2024-11-20 10:00:00\n"
        "bo,view,tea,2025-11-20 10:00:00\n",
    )
    with Lifeloop.open(tmp_path / "shop", scenario="ecommerce", clock=lambda: now) as loop:
        loop.import_events(path)
        assert loop.stage("ada").stage != "new"
        events = loop.store.snapshot().events
        assert (events["t_us"] < now - 86_400_000_000).all()
        assert events["received_us"].unique().to_list() == [now]


def test_one_id_on_two_different_events_keeps_both_and_flags_the_second(tmp_path: Path) -> None:
    with shop(tmp_path) as loop:
        loop.record({"event_id": "e1", "user_id": "ada", "type": "view", "item_id": "tea"})
        report = loop.record({"event_id": "e1", "user_id": "bo", "type": "view", "item_id": "mug"})
        assert [r.reason for r in report.flagged] == ["conflict"]
        events = loop.store.snapshot().events
        assert events.height == 2
        assert events.filter(pl.col("refers_to") == "e1").height == 1


def test_many_live_events_are_hashed_too_and_the_refused_ones_as_well(tmp_path: Path) -> None:
    from lifeloop import intake

    rows = [{"userId": "ada@example.org", "type": "view"}, {"userId": "bo@example.org"}]
    with shop(tmp_path, intake={"emails": "hash"}) as loop:
        report = intake.record_many(
            loop.store, rows, scenario=loop.scenario, received_us=1, key=loop.id_key()
        )
        assert (report.accepted, report.rejected) == (1, 1)
        (refused,) = loop.store.quarantined()
        assert refused.raw["userId"] == loop.pseudonym("bo@example.org")
        assert "example.org" not in str(loop.store.snapshot().events.rows())
