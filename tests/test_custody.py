"""A project is copied whole, answers the same from its copy, and a person can leave it."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lifeloop import Lifeloop
from lifeloop.custody import backup, held, restore
from lifeloop.errors import InputError, StoreError
from lifeloop.home import init
from lifeloop.store.ledger import FILE as LEDGER
from lifeloop.store.secret import FILE as KEY

HASHING = {"name": "s", "extends": "ecommerce", "intake": {"emails": "hash"}}
ADA = "Ada@Example.org"


def files_of(folder: Path) -> set[str]:
    return (
        {str(path.relative_to(folder)) for path in folder.rglob("*")} if folder.exists() else set()
    )


def named_in(folder: Path, name: str) -> list[str]:
    """Return the files below a folder that hold a name."""
    wanted = name.encode()
    return [str(p) for p in folder.rglob("*") if p.is_file() and wanted in p.read_bytes()]


def test_a_restored_project_recommends_the_same(tmp_path: Path) -> None:
    init(tmp_path / "shop", scenario="ecommerce")
    settings = tmp_path / "shop" / "lifeloop.toml"
    settings.write_text(settings.read_text("utf-8") + '\n[models]\ntext_encoder = "tfidf"\n')
    with Lifeloop.open(tmp_path / "shop") as loop:
        for n in range(40):
            loop.record({"user_id": f"u{n % 8}", "type": "purchase", "item_id": f"i{n % 9}"})
        loop.train()
        backup(loop.store, loop.home, tmp_path / "b.zip")
        wanted = [r.item_id for r in loop.recommend("u1", k=3)]
        assert wanted
    restore(tmp_path / "b.zip", tmp_path / "copy")
    with Lifeloop.open(tmp_path / "copy") as loop:
        assert [r.item_id for r in loop.recommend("u1", k=3)] == wanted
    with pytest.raises(InputError, match="project already"):
        restore(tmp_path / "b.zip", tmp_path / "copy")


@pytest.mark.parametrize("url", ["in the folder", "elsewhere"])
@pytest.mark.parametrize("there", [False, True])
def test_a_damaged_backup_leaves_no_half_project(tmp_path: Path, url: str, there: bool) -> None:
    init(tmp_path / "shop", scenario="ecommerce")
    with Lifeloop.open(tmp_path / "shop") as loop:
        for n in range(300):
            loop.record({"user_id": f"u{n}", "type": "view", "item_id": "tea", "text": "x" * n})
        backup(loop.store, loop.home, tmp_path / "b.zip")
    data = (tmp_path / "b.zip").read_bytes()
    if there:
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "notes.txt").write_text("mine")
    before = files_of(tmp_path)
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
    for broken in (data[:-20], data[: len(data) // 3], b"", flipped):
        (tmp_path / "b.zip").write_bytes(broken)
        target = f"sqlite:///{tmp_path / 'other.db'}" if url == "elsewhere" else None
        with pytest.raises((InputError, StoreError), match="no sound backup"):
            restore(tmp_path / "b.zip", tmp_path / "new", url=target)
        assert files_of(tmp_path) == before
    (tmp_path / "b.zip").write_bytes(data)
    restore(tmp_path / "b.zip", tmp_path / "new")
    with Lifeloop.open(tmp_path / "new") as loop:
        assert loop.store.counts()["events"] == 300


def test_an_erasure_reaches_the_files_of_the_lake_and_of_the_daily_state(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    with Lifeloop.open(folder, scenario="ecommerce") as loop:
        for user in ("ada-of-the-tests", "bob"):
            loop.record({"user_id": user, "type": "view", "item_id": "tea"})
        loop.record({"anonymous_id": "device-of-ada", "type": "view", "item_id": "tea"})
        loop.identify("device-of-ada", "ada-of-the-tests")
        loop.lake().extend()
        loop.daily()
        assert loop.daily().how == "nothing"
        loop.erase("ada-of-the-tests")
        users = pl.concat(pl.read_parquet(p) for p in (folder / "daily").glob("*.users.parquet"))
        assert "bob" in users["user_id"]
        assert not {"ada-of-the-tests", "device-of-ada"} & set(users["user_id"])
        assert loop.daily().how == "nothing", "what was forgotten need not be computed again"
        assert loop.lake().snapshot().events["user_id"].to_list() == ["bob"]
        told = loop.record({"user_id": "ada-of-the-tests", "type": "view"})
        assert told.reasons[0].reason == "erased"
    assert named_in(folder, "ada-of-the-tests") == []


def test_an_address_is_erased_as_itself_and_as_its_hash(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    with Lifeloop.open(folder, scenario=HASHING) as loop:
        hashed = loop.pseudonym(ADA)
        loop.store.append(_plain(), received_us=1)  # from before hashing was switched on
        loop.record({"user_id": ADA, "type": "view", "item_id": "tea"})
        loop.record({"anonymous_id": "phone", "type": "view", "item_id": "tea"})
        assert loop.identify("phone", ADA).user_id == hashed
        told = held(loop.store, ADA, folder)
        assert (told["pseudonym"], len(told["events"])) == (hashed, 3)
        report = loop.erase(ADA)
        assert (report.user_id, report.events, report.links) == (ADA, 3, 1)
        assert loop.store.counts()["events"] == 0
        for row in ({"user_id": ADA}, {"user_id": hashed}, {"anonymous_id": "phone"}):
            assert loop.record({**row, "type": "view"}).reasons[0].reason == "erased"
    assert named_in(folder, ADA) == []


def _plain() -> Any:
    from lifeloop.events.records import Event
    from lifeloop.testing.store_suite import event_rows

    return event_rows(Event(type="view", user_id=ADA, occurred_us=1))


def test_a_restored_project_forgets_whoever_was_erased_since(tmp_path: Path) -> None:
    init(tmp_path / "shop", scenario="ecommerce")
    with Lifeloop.open(tmp_path / "shop") as loop:
        for user in ("ada", "bob"):
            loop.record({"user_id": user, "type": "view", "item_id": "tea"})
        backup(loop.store, loop.home, tmp_path / "b.zip")
        loop.erase("ada")
    about = restore(tmp_path / "b.zip", tmp_path / "copy", keys=tmp_path / "shop")
    assert (about["ledger"], about["erased"]) == (True, 1)
    for name in (KEY, LEDGER):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "shop" / name).read_bytes()
        assert (tmp_path / "copy" / name).stat().st_mode & 0o077 == 0
    with Lifeloop.open(tmp_path / "copy") as loop:
        assert loop.store.snapshot().events["user_id"].to_list() == ["bob"]
        assert loop.record({"user_id": "ada", "type": "view"}).rejected == 1
    (tmp_path / "lone").mkdir()
    about = restore(tmp_path / "b.zip", tmp_path / "lone")
    assert about["ledger"] is False


def test_live_types_without_end_are_refused_one_by_one(tmp_path: Path) -> None:
    few = {"name": "s", "extends": "ecommerce", "intake": {"max_event_types": 20}}
    with Lifeloop.open(tmp_path / "shop", scenario=few) as loop:
        told = [loop.record({"user_id": "u", "type": f"type-{n}"}) for n in range(25)]
        assert [report.accepted for report in told] == [1] * 20 + [0] * 5
        assert {r.reason for report in told[20:] for r in report.reasons} == {"too_many_types"}
        assert loop.record({"user_id": "u", "type": "type-3"}).accepted == 1
        assert loop.record({"user_id": "u", "type": "view"}).accepted == 1
        assert len(loop.store.event_types()) == 21
        assert loop.store.counts()["quarantined"] == 5
    with Lifeloop.open(tmp_path / "shop", scenario=few) as loop:  # another process counts on
        told = [loop.record({"user_id": "u", "type": f"more-{n}"}) for n in range(5)]
        assert sum(report.accepted for report in told) <= 2
        assert len(loop.store.event_types()) <= 23
