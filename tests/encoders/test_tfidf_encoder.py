"""TF-IDF + SVD: meaning, state, and texts that say nothing."""

import numpy as np
import pytest
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer

from lifeloop.contracts import Encoder
from lifeloop.encoders import FittedTfidfSvd, TfidfSvd
from lifeloop.errors import BundleError, InputError

TEXTS = [
    f"{look} {noun}"
    for look in ("green", "small", "fine", "old")
    for noun in ("tea leaves", "tea pot", "bike lamp", "bike tyre", "绿茶 茶叶", "自行车 灯")
]


@pytest.fixture(scope="module")
def fitted() -> FittedTfidfSvd:
    return TfidfSvd(d=8).fit(TEXTS)


def test_rows_have_length_one_and_the_promised_width(fitted: FittedTfidfSvd) -> None:
    encoder: Encoder = fitted
    vectors, mask = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 8)
    assert vectors.dtype == np.float32
    assert mask.all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("query", "near", "far"),
    [("tea", "small tea pot", "old bike tyre"), ("绿茶", "fine 绿茶 茶叶", "old 自行车 灯")],
)
def test_like_is_nearer_than_unlike(
    fitted: FittedTfidfSvd, query: str, near: str, far: str
) -> None:
    vectors, _ = fitted.encode([query, near, far])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3


def test_full_rank_keeps_the_cosines_of_plain_tfidf() -> None:
    # Independent reference: scikit-learn's TF-IDF rows without any projection.
    views = [
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True),
        TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", ngram_range=(1, 2), sublinear_tf=True),
    ]
    plain = hstack([view.fit_transform(TEXTS) for view in views]).toarray() / np.sqrt(2)
    vectors, _ = TfidfSvd(d=len(TEXTS)).fit(TEXTS).encode(TEXTS)
    np.testing.assert_allclose(vectors @ vectors.T, plain @ plain.T, atol=1e-5)


@pytest.mark.parametrize("text", ["", " ", "<p></p>", "\x00\x01", "🎉🎉", "zzqqxx"])
def test_nothing_to_read_is_masked_not_zero_similarity(fitted: FittedTfidfSvd, text: str) -> None:
    vectors, mask = fitted.encode([text, "tea"])
    assert mask.tolist() == [False, True]
    assert not vectors[0].any()


def test_long_and_strange_texts_do_not_break(fitted: FittedTfidfSvd) -> None:
    vectors, mask = fitted.encode(["tea " * 25_000, "<b>tea</b>", "tea\x00", "\ud800 tea"])
    assert mask.all()
    assert np.isfinite(vectors).all()


def test_saved_arrays_rebuild_the_same_encoder(fitted: FittedTfidfSvd) -> None:
    arrays = fitted.arrays()
    assert all(array.dtype != object for array in arrays.values())
    again = FittedTfidfSvd.load(arrays)
    assert again.id == fitted.id
    np.testing.assert_array_equal(again.encode(TEXTS)[0], fitted.encode(TEXTS)[0])


def test_arrays_survive_npz_without_pickle(
    fitted: FittedTfidfSvd, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("npz") / "encoder.npz"
    np.savez(path, **fitted.arrays())  # type: ignore[arg-type]
    with np.load(path, allow_pickle=False) as arrays:
        assert FittedTfidfSvd.load(arrays).terms == fitted.terms


def test_damaged_arrays_are_refused(fitted: FittedTfidfSvd) -> None:
    arrays = fitted.arrays()
    with pytest.raises(BundleError, match="damaged"):
        FittedTfidfSvd.load({k: v for k, v in arrays.items() if k != "word_idf"})
    with pytest.raises(BundleError, match="sizes differ"):
        FittedTfidfSvd.load({**arrays, "basis": arrays["basis"][:-1]})


def test_the_id_names_the_fitted_state(fitted: FittedTfidfSvd) -> None:
    assert TfidfSvd(d=8).fit(TEXTS).id == fitted.id
    assert TfidfSvd(d=8).fit([*TEXTS, "rope"]).id != fitted.id
    assert TfidfSvd(d=9).fit(TEXTS).id != fitted.id


def test_repeated_texts_count_once(fitted: FittedTfidfSvd) -> None:
    assert TfidfSvd(d=8).fit(TEXTS * 3).id == fitted.id


@pytest.mark.parametrize("texts", [[], ["", " "], ["🎉", "!!"]])
def test_a_catalogue_without_words_gives_an_encoder_that_masks_or_reads(
    texts: list[str],
) -> None:
    encoder = TfidfSvd(d=4).fit(texts)
    vectors, mask = encoder.encode([*texts, "tea"])
    assert vectors.shape == (len(texts) + 1, 4)
    assert np.isfinite(vectors).all()
    assert not mask[-1]
    assert FittedTfidfSvd.load(encoder.arrays()).id == encoder.id


def test_fewer_texts_than_dimensions_pad_with_zeros() -> None:
    vectors, mask = TfidfSvd(d=50).fit(["tea", "lamp"]).encode(["tea", "lamp"])
    assert mask.all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert not vectors[:, 2:].any()


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="positive"):
        TfidfSvd(d=0).fit(TEXTS)
