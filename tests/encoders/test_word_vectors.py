"""Word vectors from files: every format, and every way in which such a file is damaged."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from lifeloop.encoders import WordVectors
from lifeloop.errors import UnreadableFile

WORDS = {
    "the": [0.1, 0.1, 0.1],
    "tea": [1.0, 0.0, 0.0],
    "green": [0.0, 1.0, 0.0],
    "guitar": [0.0, 0.0, 1.0],
    "绿茶": [0.9, 0.3, 0.0],
    "茶": [1.0, 0.1, 0.0],
    "吉他": [0.0, 0.0, 0.9],
}


def glove(words: dict[str, list[float]] = WORDS) -> bytes:
    return "".join(f"{w} {' '.join(map(str, v))}\n" for w, v in words.items()).encode()


def word2vec() -> bytes:
    return f"{len(WORDS)} 3\n".encode() + glove()


def binary() -> bytes:
    rows = [w.encode() + b" " + struct.pack("<3f", *v) + b"\n" for w, v in WORDS.items()]
    return f"{len(WORDS)} 3\n".encode() + b"".join(rows)


def unspaced_binary() -> bytes:
    rows = [w.encode() + b" " + struct.pack("<3f", *v) for w, v in WORDS.items()]
    return f"{len(WORDS)} 3\n".encode() + b"".join(rows)


FORMATS = {
    "glove.txt": glove(),
    "words.vec": word2vec(),
    "words.bin": binary(),
    "plain.bin": unspaced_binary(),
    "words.vec.gz": gzip.compress(word2vec()),
    "words.bin.gz": gzip.compress(binary()),
}


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_vectors(name: str, tmp_path: Path) -> None:
    read = WordVectors.read(written(tmp_path, name, FORMATS[name]))
    assert read.d == 3
    assert list(read.place) == list(WORDS)
    np.testing.assert_allclose(read.table, list(WORDS.values()), atol=1e-7)


def test_a_text_is_the_weighted_mean_of_its_words(tmp_path: Path) -> None:
    read = WordVectors.read(written(tmp_path, "g.txt", glove()))
    vectors, mask = read.encode(["Green tea!", "tea", "xyzzy", "", "the the the tea"])
    assert mask.tolist() == [True, True, False, False, True]
    scale = np.log(len(WORDS) + 1.0)
    weight = [1e-3 / (1e-3 + 1.0 / ((rank + 1.0) * scale)) for rank in (2, 1)]
    by_hand = weight[0] * np.array(WORDS["green"]) + weight[1] * np.array(WORDS["tea"])
    np.testing.assert_allclose(vectors[0], by_hand / np.linalg.norm(by_hand), atol=1e-6)
    np.testing.assert_allclose(vectors[1], [1, 0, 0], atol=1e-6)
    assert float(vectors[4] @ vectors[1]) > 0.85  # frequent words say little


def test_chinese_is_cut_into_the_longest_known_words(tmp_path: Path) -> None:
    read = WordVectors.read(written(tmp_path, "g.txt", glove()))
    names = list(read.place)
    assert [names[i] for i in read.words("绿茶吉他")] == ["绿茶", "吉他"]
    assert [names[i] for i in read.words("茶吉他")] == ["茶", "吉他"]
    assert read.words("茶壶") == [names.index("茶"), -1]
    tea, guitar, leaf = read.encode(["绿茶", "吉他", "茶叶"])[0]
    assert float(tea @ leaf) > 0.9 > 0.1 > float(guitar @ leaf)


def test_the_share_of_unknown_words_is_told(tmp_path: Path) -> None:
    read = WordVectors.read(written(tmp_path, "g.txt", glove()))
    told = read.unknown(["green tea", "green xyzzy", "xyzzy", "!!"])
    np.testing.assert_array_equal(told[:3], [0.0, 0.5, 1.0])
    assert np.isnan(told[3])


def test_max_pooling_is_another_encoder(tmp_path: Path) -> None:
    path = written(tmp_path, "g.txt", glove())
    most = WordVectors.read(path, pooling="max")
    np.testing.assert_allclose(
        most.encode(["green tea"])[0][0], np.array([1, 1, 0]) / np.sqrt(2), atol=1e-6
    )
    assert most.id != WordVectors.read(path).id


def test_the_whole_file_is_in_the_id(tmp_path: Path) -> None:
    a = WordVectors.read(written(tmp_path, "g.txt", glove()))
    changed = glove({**WORDS, "吉他": [0.0, 0.0, 0.8]})
    b = WordVectors.read(written(tmp_path, "g.txt", changed))
    assert a.id != b.id


def test_glove_words_may_hold_spaces_where_the_width_is_stated(tmp_path: Path) -> None:
    read = WordVectors.read(written(tmp_path, "w.vec", b"2 2\n. . . 1 2\nat home 3 4\n"))
    assert list(read.place) == [". . .", "at home"]


DAMAGED = {
    "cut.vec": word2vec()[:-20],
    "cut between lines.vec": b"\n".join(word2vec().split(b"\n")[:-3]) + b"\n",
    "cut inside a number.txt": glove()[:-2],
    "cut inside a line.txt": glove()[:-6] + b"\n",
    "cut.bin": binary()[:-5],
    "cut between words.bin": binary()[: -(len("吉他".encode()) + 14)],
    "more than stated.bin": binary() + b"more 123456789012",
    "cut.vec.gz": gzip.compress(word2vec())[:-12],
    "not a gzip.vec.gz": word2vec(),
    "empty.vec": b"",
    "header only.vec": b"5 3\n",
    "nan.txt": b"a 1 2\nb nan 2\n",
    "infinite.txt": b"a 1 2\nb inf 2\n",
    "not numbers.txt": b"a 1 2\nb one two\n",
    "narrower.txt": b"a 1 2 3\nb 1 2\n",
    "words only.txt": b"a\nb\n",
    "zero width.vec": b"2 0\na\nb\n",
    "no header.bin": b"\x00\x01\x02\x03",
    "nan.bin": b"1 2\na " + struct.pack("<2f", float("nan"), 1.0),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="word vectors"):
        WordVectors.read(written(tmp_path, name, DAMAGED[name]))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="could not be read"):
        WordVectors.read(tmp_path / "none.vec")
