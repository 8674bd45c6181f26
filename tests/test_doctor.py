"""The doctor looks at a whole project, and everything in it that can be broken is broken here."""

import json
import shutil
import sqlite3
from collections import namedtuple
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lifeloop import Lifeloop
from lifeloop.cli.app import app
from lifeloop.contracts import Finding
from lifeloop.doctor import examine
from lifeloop.home import Home, init
from lifeloop.store.secret import FILE
from lifeloop.testing.store_suite import NOW


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    init(folder, scenario="ecommerce")
    settings = folder / "lifeloop.toml"
    settings.write_text(settings.read_text("utf-8") + '\n[models]\ntext_encoder = "tfidf"\n')
    with Lifeloop.open(folder) as loop:
        for n in range(40):
            loop.record({"user_id": f"u{n % 8}", "type": "purchase", "item_id": f"i{n % 9}"})
        loop.train()
        loop.lake().extend()
        loop.erase("u7")
    return folder


def found(folder: Path, check: str, *, quick: bool = False) -> list[Finding]:
    home = Home.of(folder, scenario=None)
    return [f for f in examine(home, clock=lambda: 2 * NOW, quick=quick) if f.check == check]


def run(folder: Path, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["doctor", "-C", str(folder), *options])
    return done.exit_code, done.output


def test_a_sound_project_passes_and_says_what_was_looked_at(shop: Path) -> None:
    code, text = run(shop, "--json")
    body = json.loads(text)
    assert (code, body["failure"]) == (0, 0)
    looked = {f["check"]: f["severity"] for f in body["findings"]}
    for check in ("integrity", "migration", "sequence", "index use", "lake", "models", "key"):
        assert looked[check] == "ok", check
    code, text = run(shop)
    assert code == 0
    assert "all 50 numbers" not in text  # 40 events and what the erasure took, no more
    assert "numbers are accounted for" in " ".join(text.split())


def test_a_failure_ends_with_one_and_the_next_step(shop: Path) -> None:
    shutil.rmtree(shop / "bundles")
    code, text = run(shop)
    assert code == 1
    assert "lifeloop models rollback" in text
    assert found(shop, "models")[0].severity == "failure"


def test_a_flipped_byte_of_a_model_is_found(shop: Path) -> None:
    array = max((shop / "bundles").rglob("*.npy"), key=lambda path: path.stat().st_size)
    data = bytearray(array.read_bytes())
    data[-1] ^= 1
    array.chmod(0o644)
    array.write_bytes(bytes(data))
    assert found(shop, "models")[0].severity == "failure"


def test_damaged_pages_are_found_in_the_file_itself(shop: Path) -> None:
    database = shop / "lifeloop.db"
    with sqlite3.connect(database) as con:
        con.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = con.execute("PRAGMA page_size").fetchone()[0]
        root = con.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'events_by_user'"
        ).fetchone()[0]
    con.close()
    with database.open("r+b") as file:
        file.seek((root - 1) * page + page - 200)
        file.write(b"\xa5" * 150)
    (fault,) = found(shop, "integrity")
    assert fault.severity == "failure"
    assert fault.next
    with database.open("r+b") as file:
        file.write(b"no database at all")
    assert any(
        f.severity == "failure" for f in examine(Home.of(shop, scenario=None), clock=lambda: NOW)
    )
    assert run(shop)[0] == 1


def test_no_database_is_a_failure_and_none_is_made(tmp_path: Path) -> None:
    init(tmp_path / "new", scenario="ecommerce")
    code, text = run(tmp_path / "new")
    assert code == 1
    assert "there is no database" in text
    assert not (tmp_path / "new" / "lifeloop.db").exists()
    assert run(tmp_path / "nothing")[0] == 1


def test_a_key_that_others_may_read_and_a_lost_one_are_failures(shop: Path) -> None:
    key = shop / FILE
    key.chmod(0o640)
    assert "mode 640" in found(shop, "key")[0].said
    key.chmod(0o600)
    key.rename(shop / "elsewhere")
    assert [f.severity for f in found(shop, "key")] == ["failure"]


def test_hashed_ids_without_their_key_are_a_failure(tmp_path: Path) -> None:
    scenario = {"name": "s", "extends": "ecommerce", "intake": {"emails": "hash"}}
    folder = tmp_path / "s"
    with Lifeloop.open(folder, scenario=scenario) as loop:
        loop.record({"user_id": "ada@example.org", "type": "view", "item_id": "tea"})
        home = Home(folder, loop.store.url, loop.scenario)
    (kept,) = [f for f in examine(home, clock=lambda: 2 * NOW) if f.check == "hashed ids"]
    assert kept.severity == "ok"
    (folder / FILE).unlink()
    (lost,) = [f for f in examine(home, clock=lambda: 2 * NOW) if f.check == "hashed ids"]
    assert lost.severity == "failure"
    assert "another id" in lost.said


@pytest.mark.parametrize(
    ("free", "severity"), [(10**12, "ok"), (900 * 10**6, "warning"), (10**6, "failure")]
)
def test_little_room_is_said_before_it_is_none(
    shop: Path, monkeypatch: pytest.MonkeyPatch, free: int, severity: str
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**13, 0, free))
    assert {f.severity for f in found(shop, "free space")} == {severity}


def test_a_lake_that_still_holds_the_erased_fails(shop: Path) -> None:
    with Lifeloop.open(shop) as loop:
        loop.store.erase("u1", at_us=NOW)  # by the store alone: the lake does not know yet
    assert any("erased" in f.said and f.severity == "failure" for f in found(shop, "lake"))
    with Lifeloop.open(shop) as loop:
        loop.lake().extend()
    assert [f.severity for f in found(shop, "lake")] == ["ok"]
