"""Items known by pictures and sounds, from the file to the slate."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lifeloop import Lifeloop
from lifeloop.config import Scenario
from lifeloop.errors import ConfigError, InputError
from lifeloop.modalities import named_files, used_in_a_row
from lifeloop.nearest import nearest

DAY = 86_400_000_000
T0 = 1_735_689_600_000_000
NOW = T0 + 60 * DAY
KINDS = {"low": 300.0, "mid": 900.0, "high": 2500.0}


def test_a_field_is_a_column_or_an_attribute_and_the_first_named_counts() -> None:
    items = pl.DataFrame(
        {
            "item_id": ["a", "b", "c", "d", "e"],
            "image": [None, "b.png", " ", None, None],
            "attributes": [
                json.dumps({"cover": "a.png"}), json.dumps({"cover": "other.png"}),
                json.dumps({"cover": "c.png"}), '{"cover": 7}', None,
            ],
        }
    )  # fmt: skip
    assert named_files(items, ("image", "cover")) == ["a.png", "b.png", "c.png", None, None]
    assert named_files(items, ("cover", "image"))[1] == "other.png"
    assert named_files(items.drop("attributes"), ("image",)) == [None, "b.png", None, None, None]


def test_pairs_are_of_one_person_in_order_and_of_different_items() -> None:
    rows = pl.DataFrame(
        {"user_id": ["u", "v", "u", "u", "u"], "item_id": ["b", "b", "a", "a", "gone"],
         "t_us": [2, 1, 1, 3, 4], "seq": [1, 2, 3, 4, 5], "weight": [1.0] * 5}
    )  # fmt: skip
    left, right = used_in_a_row(rows, ["a", "b"])
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert [len(one) for one in used_in_a_row(None, ["a"])] == [0, 0]


def test_an_unknown_encoder_is_refused_when_the_settings_are_read() -> None:
    for field in ("picture_encoder", "sound_encoder"):
        with pytest.raises(ConfigError, match="is no encoder"):
            Scenario.load({"name": "x", "models": {"media": {field: "resnet"}}})


def tone(hz: float, seed: int, path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    rng = np.random.default_rng(seed)
    t = np.arange(8000) / 8000
    samples = 0.4 * np.sin(2 * np.pi * hz * (1 + 0.03 * rng.standard_normal()) * t)
    soundfile.write(path, samples + 0.01 * rng.standard_normal(8000), 8000)


def shop(folder: Path, *, media: dict[str, Any], text: str = "none", n_users: int = 45) -> Lifeloop:
    """Songs of three kinds that only their sound tells apart; titles say nothing of it.

    ``new-mid`` has nothing but a sound and nobody used it; ``broken`` names a damaged file.
    """
    (folder / "media" / "s").mkdir(parents=True)
    rows: list[tuple[str, str | None, str | None]] = []
    for k, (kind, hz) in enumerate(KINDS.items()):
        for n in range(8):
            tone(hz, 100 * k + n, folder / "media" / "s" / f"{kind}-{n}.wav")
            rows.append((f"{kind}-{n}", f"track of number {n}", f"s/{kind}-{n}.wav"))
    tone(KINDS["mid"], 999, folder / "media" / "s" / "new.wav")
    (folder / "media" / "broken.wav").write_bytes(b"RIFF nothing")
    rows += [("new-mid", None, "s/new.wav"), ("broken", "track of number 3", "broken.wav")]
    rows += [("mute", "track of number 5", None)]
    pl.DataFrame(rows, schema=["item_id", "title", "audio"], orient="row").write_csv(
        folder / "items.csv"
    )
    rng = np.random.default_rng(0)
    bought = []
    for u in range(n_users):
        kind = list(KINDS)[u % 3]
        for n, item in enumerate(rng.permutation(8)[:5]):
            when = T0 + int(rng.integers(0, 50)) * DAY + n
            bought.append((f"u{u}", "purchase", f"{kind}-{item}", when, f"o{u}-{n}", 2.0))
    frame = pl.DataFrame(
        bought, schema=["user_id", "type", "item_id", "t", "order_id", "value"], orient="row"
    )
    moment = pl.from_epoch("t", time_unit="us").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    frame.with_columns(moment.alias("occurred_at")).drop("t").write_csv(folder / "events.csv")
    settings = {
        "name": "s", "extends": "ecommerce",
        "recommend": {"diversity": 0.0},  # the order of relevance alone
        "models": {"text_encoder": text, "ease_items": 50, "media": media},
    }  # fmt: skip
    loop = Lifeloop.open(folder, scenario=settings, clock=lambda: NOW)
    loop.import_items(folder / "items.csv")
    loop.import_events(folder / "events.csv")
    return loop


def kinds(found: Any) -> list[str]:
    return [row.item_id.split("-")[-2 if row.item_id[0] != "n" else 1] for row in found]


@pytest.mark.extras
def test_a_new_item_that_has_only_a_sound_is_served_to_those_who_like_its_kind(
    tmp_path: Path,
) -> None:
    pytest.importorskip("soundfile")
    with shop(tmp_path, media={}) as loop:
        told = loop.train()
        (part,) = told["modalities"]
        assert (part["name"], part["items"], part["weight"]) == ("sound", 25, 1.0)
        assert any("not a sound that can be read (broken.wav)" in note for note in told["notes"])
        assert any("2 of 27 items say nothing" in note for note in told["notes"])
        _, near = nearest(loop.model(), "new-mid", k=6)
        assert kinds(near) == ["mid"] * 6
        loop.record({"user_id": "fan", "type": "view", "item_id": "mid-1"})
        loop.record({"user_id": "other", "type": "view", "item_id": "low-1"})
        fan = [r.item_id for r in loop.recommend("fan", k=8)]
        other = [r.item_id for r in loop.recommend("other", k=8)]
        assert "new-mid" in fan[:5]
        assert "new-mid" not in other[:5]
        report = loop.evaluate(models=["content", "popularity"])
        best = {n: m.per_user["ndcg@10"].mean() for n, m in report.models.items()}
        assert best["content"] > best["popularity"]


@pytest.mark.extras
def test_text_and_sound_are_joined_by_learned_weights_and_words_still_find_words(
    tmp_path: Path,
) -> None:
    pytest.importorskip("soundfile")
    with shop(tmp_path, media={}, text="tfidf", n_users=90) as loop:
        told = loop.train()
        parts = {part["name"]: part for part in told["modalities"]}
        assert set(parts) == {"text", "sound"}
        assert parts["sound"]["pairs"] >= 200
        assert parts["sound"]["weight"] > 0.8  # titles say nothing of what people like
        model = loop.model()
        assert model.reader is not None
        assert len(model.reader.read("track of number 5")) == model.catalogue.content.shape[1]
        kind, near = nearest(model, "track of number 5", k=4)
        assert kind == "text"
        # the one without any sound is as near as those with one
        assert {row.item_id for row in near} == {"low-5", "mid-5", "high-5", "mute"}
        assert all(row.cosine > 0.99 for row in near)
        _, by_words = nearest(model, "mute", k=30)
        assert "new-mid" not in {row.item_id for row in by_words}  # they share nothing
        again = Lifeloop.open(tmp_path, scenario=loop.scenario, clock=lambda: NOW)
        with again:
            _, same = nearest(again.model(), "track of number 5", k=4)
            assert same == near
        loop.record({"user_id": "fan", "type": "view", "item_id": "high-1"})
        first = [r.item_id for r in loop.recommend("fan", k=4, context={"query": "track"})]
        assert len(first) == 4


@pytest.mark.extras
def test_pictures_by_an_attribute_are_read_by_a_model_folder(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    vit = transformers.ViTConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, patch_size=8,
    )  # fmt: skip
    transformers.ViTModel(vit).save_pretrained(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").write_text('{"size": {"height": 32}}')
    (tmp_path / "pics").mkdir()
    rng = np.random.default_rng(0)
    items: list[dict[str, Any]] = []
    for k, colour in enumerate([(220, 30, 30), (30, 30, 220)]):
        for n in range(6):
            noise = rng.integers(-25, 25, (40, 40, 3))
            shown = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            image.fromarray(shown).save(tmp_path / "pics" / f"{k}{n}.png")
            items.append({"item_id": f"{'rb'[k]}{n}", "attributes": {"cover": f"{k}{n}.png"}})
    (tmp_path / "items.jsonl").write_text("\n".join(json.dumps(row) for row in items))
    media = {"folder": "pics", "pictures": ["cover"], "picture_encoder": "./vit"}
    settings = {
        "name": "s",
        "extends": "ecommerce",
        "models": {"text_encoder": "none", "media": media},
    }
    with Lifeloop.open(tmp_path, scenario=settings, clock=lambda: NOW) as loop:
        loop.import_items(tmp_path / "items.jsonl")
        told = loop.train()
        assert told["modalities"][0]["items"] == 12
        _, near = nearest(loop.model(), "r0", k=5)
        assert {row.item_id[0] for row in near} == {"r"}
        slate = loop.recommend("newcomer", k=3, context={"items": ["b1"]})
        assert {row.item_id[0] for row in slate} == {"b"}
    media["picture_encoder"] = "./gone"
    with (
        Lifeloop.open(tmp_path, scenario=settings, clock=lambda: NOW) as loop,
        pytest.raises(InputError, match="no such model folder"),
    ):
        loop.train()


def test_pictures_that_nothing_can_read_are_said_and_do_no_harm(tmp_path: Path) -> None:
    items = {"item_id": ["a", "b"], "title": ["tea", "rope"], "image": ["a.jpg", "b.jpg"]}
    pl.DataFrame(items).write_csv(tmp_path / "items.csv")
    settings = {"name": "s", "extends": "ecommerce", "models": {"text_encoder": "tfidf"}}
    with Lifeloop.open(tmp_path, scenario=settings, clock=lambda: NOW) as loop:
        loop.import_items(tmp_path / "items.csv")
        told = loop.train()
        assert told["modalities"] == []
        assert any("encoders build efficientnet" in note for note in told["notes"])
        assert loop.model().catalogue.blocks.tolist() == []
