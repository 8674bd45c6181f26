"""Nothing is encoded twice, and nothing wrong is ever answered."""

import hashlib
import multiprocessing
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lifeloop.contracts import Bool, Float
from lifeloop.encoders import VectorCache, encode_catalogue
from lifeloop.errors import StoreError, StoreFull


@dataclass(frozen=True)
class Hashing:
    """A deterministic stand-in encoder that counts what it is asked."""

    id: str = "hashing"
    d: int = 3
    asked: list[str] = field(default_factory=list)
    fail_after: int | None = None

    def encode(self, texts: Sequence[str]) -> tuple[Float, Bool]:
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise RuntimeError("interrupted")
        self.asked.extend(texts)
        rows = np.zeros((len(texts), self.d), dtype=np.float32)
        for n, text in enumerate(texts):
            key = hashlib.sha256((self.id + text).encode("utf-8", "replace")).digest()
            rows[n] = np.frombuffer(key[: self.d], dtype=np.uint8).astype(np.float32) + 1
        mask = np.array([bool(text.strip()) for text in texts], dtype=np.bool_)
        rows[~mask] = 0
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows / np.maximum(lengths, 1e-9)).astype(np.float32), mask


TEXTS = ["tea", "", "lamp", "tea", "\ud800", "茶"]


def test_answers_equal_the_encoders_and_each_text_is_asked_once(tmp_path: Path) -> None:
    encoder, cache = Hashing(), VectorCache(tmp_path / "new" / "folder")
    plain, plain_mask = Hashing().encode(TEXTS)
    for _ in range(2):
        vectors, mask = cache.encode(encoder, TEXTS)
        np.testing.assert_array_equal(vectors, plain)
        np.testing.assert_array_equal(mask, plain_mask)
    assert sorted(encoder.asked) == sorted(set(TEXTS))


def test_another_encoder_of_the_same_width_is_never_answered(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    cache.encode(Hashing(id="one"), TEXTS)
    other = Hashing(id="two")
    vectors, _ = cache.encode(other, TEXTS)
    np.testing.assert_array_equal(vectors, Hashing(id="two").encode(TEXTS)[0])
    assert sorted(other.asked) == sorted(set(TEXTS))


def test_an_interrupted_run_resumes_where_it_stopped(tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(300)]
    cache, broken, second = VectorCache(tmp_path), Hashing(fail_after=150), Hashing()
    with pytest.raises(RuntimeError, match="interrupted"):
        cache.encode(broken, texts)
    vectors, _ = cache.encode(second, texts)
    assert len(broken.asked) + len(second.asked) == 300
    np.testing.assert_array_equal(vectors, Hashing().encode(texts)[0])


def test_a_damaged_row_is_encoded_again(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    cache.encode(Hashing(), ["tea", "lamp", "rope"])
    with sqlite3.connect(tmp_path / "vectors.sqlite") as connection:
        keys = [row[0] for row in connection.execute("SELECT text_hash FROM vectors")]
        nan = np.full(3, np.nan, dtype="<f4").tobytes()
        connection.execute("UPDATE vectors SET vector = x'00' WHERE text_hash = ?", keys[:1])
        connection.execute("UPDATE vectors SET vector = ? WHERE text_hash = ?", (nan, keys[1]))
    connection.close()
    again = Hashing()
    vectors, _ = cache.encode(again, ["tea", "lamp", "rope"])
    assert len(again.asked) == 2
    np.testing.assert_array_equal(vectors, Hashing().encode(["tea", "lamp", "rope"])[0])


def test_a_file_that_is_no_cache_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "vectors.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="delete the file: it is only a cache"):
        VectorCache(tmp_path).encode(Hashing(), ["tea"])


def test_a_full_disk_is_said_as_such(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    cache.encode(Hashing(), ["tea"])
    with sqlite3.connect(tmp_path / "vectors.sqlite") as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON vectors "
            "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
    connection.close()
    with pytest.raises(StoreFull, match="free space"):
        cache.encode(Hashing(), ["lamp"])


def test_an_encoders_own_error_is_not_taken_for_the_caches(tmp_path: Path) -> None:
    class Broken(Hashing):
        def encode(self, texts: Sequence[str]) -> tuple[Float, Bool]:
            raise FileNotFoundError("the model file")

    with pytest.raises(FileNotFoundError, match="the model file"):
        VectorCache(tmp_path).encode(Broken(), ["tea"])


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="could not be used"):
        VectorCache(tmp_path / "file").encode(Hashing(), ["tea"])


def _fill(folder: str, start: int, together: Barrier) -> None:
    texts = [f"text {n}" for n in range(start, start + 200)]
    together.wait()
    for number in range(5):  # a new file each time: creating it is the hard moment
        VectorCache(Path(folder) / str(number)).encode(Hashing(), texts)


def test_processes_may_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(3)
    writers = [
        context.Process(target=_fill, args=(str(tmp_path), start, together))
        for start in (0, 100, 200)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    idle, texts = Hashing(), [f"text {n}" for n in range(400)]
    for number in range(5):
        vectors, _ = VectorCache(tmp_path / str(number)).encode(idle, texts)
        np.testing.assert_array_equal(vectors, Hashing().encode(texts)[0])
    assert idle.asked == []


def test_progress_counts_distinct_texts_to_the_end(tmp_path: Path) -> None:
    steps: list[tuple[float, float | None]] = []
    texts = [f"text {n}" for n in range(100)] * 2
    VectorCache(tmp_path).encode(
        Hashing(), texts, progress=lambda step, done, total: steps.append((done, total))
    )
    assert [steps[0], steps[-1]] == [(0, 100), (100, 100)]


class TestCatalogue:
    ITEMS = pl.DataFrame({"title": ["tea", None, "lamp", "tea 5 oz", "TEA"], "brand": [None] * 5})

    @pytest.mark.parametrize("cached", [True, False])
    def test_equal_texts_share_a_row_and_empty_ones_have_none(
        self, tmp_path: Path, cached: bool
    ) -> None:
        encoder = Hashing()
        content, content_ix = encode_catalogue(
            self.ITEMS, encoder, cache=VectorCache(tmp_path) if cached else None
        )
        assert content_ix.tolist() == [0, -1, 1, 0, 0]
        assert content_ix.dtype == np.int32
        np.testing.assert_array_equal(content, Hashing().encode(["tea", "lamp"])[0])
        assert sorted(encoder.asked) == ["", "lamp", "tea"]

    def test_an_empty_catalogue_has_no_rows(self) -> None:
        content, content_ix = encode_catalogue(self.ITEMS.clear(), Hashing())
        assert content.shape == (0, 3)
        assert content_ix.shape == (0,)
        content, content_ix = encode_catalogue(self.ITEMS.select("brand"), Hashing())
        assert content.shape == (0, 3)
        assert content_ix.tolist() == [-1] * 5
