"""Character n-grams, scripts, and what stands in where a model cannot read."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifeloop.contracts import Bool, Double, Encoder, Float
from lifeloop.encoders import (
    E5,
    NgramHash,
    UnreadableText,
    WithFallback,
    centred,
    choose,
    common_part,
    opening,
    scripts,
)
from lifeloop.encoders.unknown import reads_cjk, unknown_shares
from lifeloop.text_settings import TextEncoding

CHINESE = [
    "西湖龙井绿茶 250克",
    "明前龙井茶叶 礼盒",
    "民谣吉他 41寸",
    "电吉他 初学者套装",
    "女士真皮钱包",
]
ENGLISH = ["green tea leaves", "electric guitar", "leather wallet", "running shoes", "garden hose"]


class English:
    """Reads ASCII only: every other text is unknown to it, and gets one and the same vector."""

    id = "english"
    d = 16

    def encode(self, texts: Sequence[str]) -> tuple[Float, Bool]:
        return NgramHash(d=16).encode([t if t.isascii() else "unk" for t in texts])

    def unknown(self, texts: Sequence[str]) -> Double:
        return np.array([0.0 if t.isascii() else 1.0 for t in texts])


def test_titles_that_share_characters_are_near() -> None:
    encoder: Encoder = NgramHash()
    vectors, mask = encoder.encode(CHINESE)
    assert mask.all()
    near = vectors @ vectors.T
    assert near[0, 1] > max(near[0, 2:])
    assert near[2, 3] > max(near[2, [0, 1, 4]])


@given(st.lists(st.text(max_size=60), max_size=5))
def test_any_text_gives_unit_rows_or_none(texts: list[str]) -> None:
    vectors, mask = NgramHash(d=64).encode(texts)
    assert np.isfinite(vectors).all()
    norm = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(norm[mask], 1, atol=1e-5)
    assert not vectors[~mask].any()


def test_emoji_alone_are_read() -> None:
    vectors, mask = NgramHash().encode(["🎸🎸", "🎸", "🍵", "   "])
    assert mask.tolist() == [True, True, True, False]
    assert float(vectors[0] @ vectors[1]) > 0.99 > 0.5 > float(vectors[0] @ vectors[2])


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("green tea", "latin"), ("绿茶", "han"), ("お茶を飲む", "kana"),
        ("зелёный чай", "cyrillic"),
        ("شاي أخضر", "arabic"), ("녹차", "hangul"), ("हरी चाय", "devanagari"), ("ชาเขียว", "thai"),
        ("תה ירוק", "hebrew"), ("πράσινο τσάι", "greek"),
    ],
)  # fmt: skip
def test_the_script_is_told(text: str, script: str) -> None:
    assert next(iter(scripts([text, "123 !"]))) == script


def test_digits_and_signs_have_no_script() -> None:
    assert scripts(["123", "🎉", ""]) == {}


def test_unknown_tokens_are_counted_by_hand() -> None:
    tokens = [
        ["green", "tea"],
        ["[UNK]", "tea"],
        ["ч", "##а", "##и"],  # spelled out: the letters are known, the word is not
        ["guitar", "##s"],  # one letter alone is an ending
        ["茶", "tea"],
        [],
    ]
    told = unknown_shares(tokens, unknown="[UNK]", reads_cjk=False)
    np.testing.assert_allclose(told[:5], [0, 0.5, 2 / 3, 0, 0.5])
    assert np.isnan(told[5])
    assert unknown_shares(tokens, unknown="[UNK]", reads_cjk=True)[4] == 0


def test_a_vocabulary_with_a_few_characters_does_not_read_chinese() -> None:
    assert not reads_cjk([*"abc", *map(chr, range(0x4E00, 0x4E00 + 500))])
    assert reads_cjk(list(map(chr, range(0x4E00, 0x4E00 + 7000))))


def test_chinese_matches_chinese_beside_an_english_model() -> None:
    both = WithFallback(English(), NgramHash())
    texts = [*ENGLISH, *CHINESE]
    vectors, mask = both.encode(texts)
    assert mask.all()
    assert vectors.shape == (10, both.d)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    near = vectors @ vectors.T
    np.fill_diagonal(near, -1)
    assert near[5].argmax() == 6
    assert near[7].argmax() == 8
    assert not near[:5, 5:].any()  # nothing is known of such a pair


def test_centring_one_block_leaves_the_other_alone() -> None:
    both = WithFallback(English(), NgramHash())
    texts = [f"tea number {n}" for n in range(20)] + CHINESE
    vectors, _ = both.encode(texts)
    mean = common_part(both, vectors)
    assert not mean[16:].any()
    np.testing.assert_allclose(mean[:16], vectors[:20, :16].mean(axis=0), atol=1e-6)
    moved = centred(vectors, mean)
    np.testing.assert_allclose(moved[20:], vectors[20:], atol=1e-6)
    assert not (moved[:20] @ moved[20:].T).any()


def test_a_catalogue_of_one_text_keeps_its_vector() -> None:
    vectors, _ = English().encode(["tea"])
    mean = common_part(English(), vectors)
    assert not mean.any()
    np.testing.assert_array_equal(centred(vectors, mean), vectors)


def test_a_language_the_model_cannot_read_is_warned_of_with_a_better_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(opening, "open_encoder", lambda *a, **k: English())
    with pytest.warns(UnreadableText, match=r"50% of the texts \(mostly han\).*e5.*bert-base-chi"):
        chosen = choose([*ENGLISH, *CHINESE], "./english", TextEncoding(), home=tmp_path)
    assert isinstance(chosen.encoder, WithFallback)
    assert len(chosen.notes) == 1
    plain = choose(ENGLISH, "./english", TextEncoding(), home=tmp_path)
    assert isinstance(plain.encoder, English)
    assert plain.notes == ()


def test_auto_without_any_extra_is_tfidf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose(ENGLISH, "auto", TextEncoding(), home=tmp_path).name == "tfidf"


def test_what_two_blocks_are_made_of_is_in_the_id() -> None:
    one = WithFallback(English(), NgramHash())
    assert one.id != WithFallback(English(), NgramHash(d=64)).id
    assert one.id not in (English.id, NgramHash().id, E5.__name__)
