"""Texts as vectors through training, the bundle and a request, whatever the encoder."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lifeloop import Lifeloop
from lifeloop.config import Models, Scenario
from lifeloop.contracts import Bool, Float
from lifeloop.encoders import NgramHash, UnreadableText, VectorCache
from lifeloop.errors import BundleError, ConfigError, InputError, UnknownId
from lifeloop.events.records import ITEM_SCHEMA
from lifeloop.nearest import nearest
from lifeloop.reading import TextReader, encode_items
from lifeloop.text_settings import checked_name
from lifeloop.trial import shuffled, try_encoder

WORDS = {
    "tea": [1.0, 0.1, 0.0], "green": [0.8, 0.3, 0.1], "leaves": [0.9, 0.2, 0.0],
    "guitar": [0.0, 0.1, 1.0], "strings": [0.1, 0.0, 0.9], "pick": [0.0, 0.2, 0.8],
    "wallet": [0.1, 1.0, 0.0], "leather": [0.0, 0.9, 0.1], "purse": [0.2, 0.9, 0.0],
}  # fmt: skip
TITLES = {
    "tea": ["green tea", "tea leaves", "green leaves", "tea"],
    "guitar": ["guitar strings", "guitar pick", "strings", "guitar"],
    "wallet": ["leather wallet", "leather purse", "wallet", "purse"],
}
DAY = 86_400_000_000
T0 = 1_735_689_600_000_000


def catalogue(rows: dict[str, str | None]) -> pl.DataFrame:
    frame = pl.DataFrame({"item_id": list(rows), "title": list(rows.values())})
    return frame.with_columns(
        pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in ITEM_SCHEMA.items()
        if name not in frame.columns
    ).select(list(ITEM_SCHEMA))


def word_file(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [f"{w} {' '.join(map(str, v))}" for w, v in WORDS.items()]
    (folder / "small.vec").write_text(f"{len(WORDS)} 3\n" + "\n".join(lines) + "\n")
    return folder / "small.vec"


def shop(folder: Path, encoder: str) -> Lifeloop:
    settings = {"name": "s", "extends": "ecommerce", "models": {"text_encoder": encoder}}
    folder.mkdir(exist_ok=True)
    if encoder.endswith(".vec"):
        word_file(folder / "models")
    loop = Lifeloop.open(folder, scenario=settings, clock=lambda: T0 + 90 * DAY)
    rows = [(f"{k}-{n}", t) for k, titles in TITLES.items() for n, t in enumerate(titles)]
    pl.DataFrame(rows, schema=["item_id", "title"], orient="row").write_csv(folder / "items.csv")
    loop.import_items(folder / "items.csv")
    rng = np.random.default_rng(0)
    for user in range(24):
        topic = list(TITLES)[user % 3]
        for n, item in enumerate(rng.permutation(4)[:3]):
            loop.record(
                {
                    "user_id": f"u{user}",
                    "type": "purchase",
                    "item_id": f"{topic}-{item}",
                    "occurred_at": (T0 + (user + 20 * n) * DAY) // 1_000_000,
                    "order_id": f"o{user}-{n}",
                    "value": 1.0,
                }
            )
    return loop


@pytest.mark.parametrize(
    "name",
    ["auto", "tfidf", "e5", "minilm", "hash", "none", "./bert", "models/bert", "~/bert", "/a/b",
     "st:all-MiniLM-L6-v2", "hf:bert-base-chinese", "https://api.example.com/v1",
     "http://127.0.0.1:8000", "words.vec", "glove.6B.50d.txt", "GoogleNews.bin.gz"],
)  # fmt: skip
def test_names_of_encoders(name: str) -> None:
    assert checked_name(name) == name
    assert Models(text_encoder=name).text_encoder == name


@pytest.mark.parametrize(
    ("name", "near"), [("minilmm", "'minilm'"), ("tf-idf", "'tfidf'"), ("E5", "Allowed"),
                       ("bert", "a model folder"), ("", "Allowed"), ("st:", "Allowed"),
                       ("https://", "Allowed")],
)  # fmt: skip
def test_a_name_that_is_none_is_refused_with_what_is_allowed(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=near):
        Scenario.load({"extends": "ecommerce", "name": "x", "models": {"text_encoder": name}})


def test_settings_of_the_encoder_are_checked_like_all_others() -> None:
    with pytest.raises(ConfigError, match=r"'pooling'|pooling"):
        Scenario.load({"extends": "ecommerce", "name": "x", "models": {"text": {"poling": "cls"}}})


@pytest.mark.parametrize("encoder", ["hash", "models/small.vec", "tfidf"])
def test_any_encoder_serves_a_query_after_the_bundle_is_opened_again(
    tmp_path: Path, encoder: str
) -> None:
    with shop(tmp_path / "shop", encoder) as loop:
        manifest = loop.train()
        assert manifest["encoder"] is not None
        first = loop.recommend("stranger", k=3, context={"query": "green tea"})
    moved = Path(shutil.move(tmp_path / "shop", tmp_path / "moved"))
    settings = {"name": "s", "extends": "ecommerce", "models": {"text_encoder": encoder}}
    with Lifeloop.open(moved, scenario=settings, clock=lambda: T0 + 90 * DAY) as loop:
        again = loop.recommend("stranger", k=3, context={"query": "green tea"})
        kind, near = nearest(loop.model(), "guitar", k=3)
        assert kind == "text"
        assert {row.item_id.split("-")[0] for row in near} == {"guitar"}
        kind, near = nearest(loop.model(), "tea-0", k=2)
        assert kind == "item"
        assert "tea-0" not in {row.item_id for row in near}
        assert {row.item_id.split("-")[0] for row in near} == {"tea"}
    assert [r.item_id for r in again] == [r.item_id for r in first]
    assert all(r.item_id.startswith("tea") for r in first)


def test_a_bundle_whose_encoder_changed_or_went_is_refused(tmp_path: Path) -> None:
    with shop(tmp_path, "models/small.vec") as loop:
        loop.train()
    path = tmp_path / "models" / "small.vec"
    settings = {"name": "s", "extends": "ecommerce", "models": {"text_encoder": "hash"}}
    whole = path.read_text()
    path.write_text(whole.replace("0.8 0.3 0.1", "0.8 0.3 0.2"))
    with (
        Lifeloop.open(tmp_path, scenario=settings) as loop,
        pytest.raises(BundleError, match="not the one that made"),
    ):
        loop.model()
    path.unlink()
    with (
        Lifeloop.open(tmp_path, scenario=settings) as loop,
        pytest.raises(BundleError, match="cannot be opened"),
    ):
        loop.model()


def test_texts_in_a_language_without_a_word_in_the_file_still_match_each_other(
    tmp_path: Path,
) -> None:
    rows: dict[str, str | None] = {f"en{n}": f"green tea {w}" for n, w in enumerate(WORDS)}
    rows |= {
        "zh0": "西湖龙井绿茶",
        "zh1": "龙井绿茶 礼盒",
        "zh2": "民谣吉他",
        "zh3": "电吉他",
        "none": None,
    }
    settings = Models(text_encoder=str(word_file(tmp_path / "models")))
    with pytest.warns(UnreadableText, match=r"mostly han.*better is e5"):
        made = encode_items(catalogue(rows), settings, cache=None, home=tmp_path)
    assert len(made.notes) == 2
    assert "1 of 14 items say nothing that an encoder can read (none)" in made.notes[1]
    assert made.content_ix[-1] == -1
    own = made.content[made.content_ix[9:13]]
    near = own @ own.T
    np.fill_diagonal(near, -1)
    assert near.argmax(axis=1).tolist() == [1, 0, 3, 2]
    assert made.reader is not None
    asked = made.reader.read("吉他")
    assert set(np.argsort(-(made.content @ asked))[:2]) == set(made.content_ix[[11, 12]])


WILD: dict[str, str | None] = {
    "none": None,
    "empty": "",
    "space": "  \n\t ",
    "control": "\x00\x01\x02",
    "markup only": "<div><br/></div><script>alert('tea')</script>",
    "markup": "<b>green</b> <i>tea</i> &amp; leaves",
    "long": "green tea " * 10_000,
    "emoji": "🍵🍵🍵",
    "plain": "tea leaves",
}


@pytest.mark.parametrize("encoder", ["hash", "tfidf", "words"])
def test_wild_texts_are_masked_or_read_but_never_break(tmp_path: Path, encoder: str) -> None:
    name = str(word_file(tmp_path)) if encoder == "words" else encoder
    made = encode_items(catalogue(WILD), Models(text_encoder=name), cache=VectorCache(tmp_path))
    row = dict(zip(WILD, made.content_ix.tolist(), strict=True))
    assert all(row[k] == -1 for k in ("none", "empty", "space", "control", "markup only"))
    assert all(row[k] >= 0 for k in ("markup", "long", "plain"))
    assert np.isfinite(made.content).all()
    assert made.reader is not None
    assert np.isfinite(made.reader.read_all([*(t or "" for t in WILD.values()), "x\ud800"])).all()


def test_another_encoder_of_the_same_width_never_answers_from_the_cache(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    rows = catalogue({"a": "green tea", "b": "guitar"})
    path = word_file(tmp_path / "models")
    first = encode_items(rows, Models(text_encoder=str(path)), cache=cache)
    path.write_text(path.read_text().replace("1.0 0.1 0.0", "0.0 0.1 1.0"))
    second = encode_items(rows, Models(text_encoder=str(path)), cache=cache)
    assert first.content.shape == second.content.shape
    assert not np.allclose(first.content, second.content)
    pooled = Models.model_validate({"text_encoder": str(path), "text": {"pooling": "max"}})
    assert not np.allclose(encode_items(rows, pooled, cache=cache).content, second.content)


def test_a_reader_asks_its_encoder_once_per_text() -> None:
    class Counting:
        id, d, asked = "counting", 64, 0

        def encode(self, texts: Sequence[str]) -> tuple[Float, Bool]:
            self.asked += len(texts)
            return NgramHash(d=64).encode(texts)

    counting = Counting()
    reader = TextReader(counting, np.zeros(64, np.float32))
    one = reader.read_all(["tea", "guitar", "tea"])
    two = reader.read("tea")
    assert counting.asked == 2
    np.testing.assert_array_equal(one[0], two)
    np.testing.assert_array_equal(one[0], one[2])


def test_nearest_says_when_there_is_nothing_to_compare(tmp_path: Path) -> None:
    with shop(tmp_path, "models/small.vec") as loop:
        loop.record(
            {"user_id": "u0", "type": "view", "item_id": "bare", "occurred_at": T0 // 1_000_000}
        )
        loop.train()
        with pytest.raises(UnknownId, match="no text"):
            nearest(loop.model(), "bare")
        with pytest.raises(InputError, match="read nothing"):
            nearest(loop.model(), "xyzzy")
    with shop(tmp_path / "silent", "none") as loop:
        loop.train()
        with pytest.raises(InputError, match="reads no text"):
            nearest(loop.model(), "tea")


def test_a_trial_puts_the_encoder_beside_both_floors(tmp_path: Path) -> None:
    with shop(tmp_path, "tfidf") as loop:
        told = try_encoder(
            loop.store, loop.scenario, name="hash", home=tmp_path, moment=loop.moment()
        )
    assert set(told.ndcg) == {"encoder", "tfidf", "shuffled"}
    assert told.ndcg["encoder"] > told.ndcg["shuffled"]  # titles say the topic
    assert told.worth_it == (told.ndcg["encoder"] > max(told.ndcg["tfidf"], told.ndcg["shuffled"]))
    assert told.scripts == {"latin": 1.0}
    assert told.texts == 12
    assert told.d == 512


def test_shuffling_deals_the_same_rows_to_other_items() -> None:
    rows = np.array([0, 1, -1, 2, 3, 4, -1], dtype=np.int32)
    mixed = shuffled(rows, seed=1)
    assert sorted(mixed.tolist()) == sorted(rows.tolist())
    assert (mixed == -1).tolist() == (rows == -1).tolist()
    assert mixed.tolist() != rows.tolist()
