"""A project is copied whole, and answers the same from its copy."""

from pathlib import Path

import pytest

from lifeloop import Lifeloop
from lifeloop.custody import backup, restore
from lifeloop.errors import InputError
from lifeloop.home import init


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
    with pytest.raises(InputError, match="no sound backup"):
        restore(settings, tmp_path / "other")


def test_an_erasure_reaches_the_files_of_the_lake(tmp_path: Path) -> None:
    with Lifeloop.open(tmp_path / "shop", scenario="ecommerce") as loop:
        for user in ("ada", "bob"):
            loop.record({"user_id": user, "type": "view", "item_id": "tea"})
        loop.lake().extend()
        loop.erase("ada")
        assert loop.lake().snapshot().events["user_id"].to_list() == ["bob"]
        assert loop.record({"user_id": "ada", "type": "view"}).reasons[0].reason == "erased"
