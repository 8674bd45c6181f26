"""Word vectors in files of word2vec and GloVe, text or binary, plain or gzipped."""

import contextlib
import gzip
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, Self, cast

import numpy as np

from lifeloop.contracts import Bool, Double, Float
from lifeloop.encoders.readable import encode_readable, file_digest
from lifeloop.errors import UnreadableFile

RARE = 1e-3
"""a of a / (a + p(word)): frequent words say little."""
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_UNSPACED = re.compile("[\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_LONGEST_HEADER = 64


@dataclass(frozen=True, slots=True, eq=False)
class WordVectors:
    """A text is the mean of its words' vectors, rare words weighing more.

    The weight of a word is a / (a + p), a = 0.001, with p ≈ 1 / (rank · ln N) from its rank in
    the file (these files are sorted by frequency). Words are looked up as written, then lowered;
    text without spaces (Chinese, Japanese) is cut into the longest words that the file holds.

    References
    ----------
    arora2017
    """

    name: str
    digest: str
    place: dict[str, int]
    table: Float  # [words, d]
    pooling: Literal["mean", "max"] = "mean"
    max_chars: int = 1000
    _longest: list[int] = field(default_factory=list, repr=False)

    @classmethod
    def read(
        cls, path: Path, *, pooling: Literal["mean", "max"] = "mean", max_chars: int = 1000
    ) -> Self:
        """Read a whole file; the format is found from its first bytes.

        Raises
        ------
        UnreadableFile
            The file is missing, truncated, or holds rows of different widths or numbers that are
            not finite.
        """
        try:
            place, rows = _read(path)
        except (OSError, EOFError, zlib.error) as error:
            raise UnreadableFile(
                f"the word vectors could not be read ({error})",
                got=str(path),
                hint="copy or download the file again",
            ) from error
        return cls(path.name, file_digest(path), place, rows, pooling, max_chars)

    @property
    def id(self) -> str:
        """File name, digest of the whole file, pooling and cut."""
        return f"words/{self.name}/{self.digest}/{self.pooling}/{self.max_chars}"

    @property
    def d(self) -> int:
        """Width of the vectors."""
        return int(self.table.shape[1])

    def encode(self, texts: Sequence[str]) -> tuple[Float, Bool]:
        """Return unit vectors [n, d] and a mask [n], False where no word is known."""
        return encode_readable(texts, self._run, d=self.d, max_chars=self.max_chars)

    def unknown(self, texts: Sequence[str]) -> Double:
        """Return the share of words of each text that the file does not hold [n]."""
        shares = np.full(len(texts), np.nan)
        for n, text in enumerate(texts):
            found = self.words(text)
            if found:
                shares[n] = sum(ix < 0 for ix in found) / len(found)
        return shares

    def words(self, text: str) -> list[int]:
        """Return the row of each word of a text, -1 for words that the file does not hold."""
        found: list[int] = []
        for match in _WORD.finditer(text):
            word = match.group()
            row = self._row(word)
            if row >= 0 or not _UNSPACED.search(word):
                found.append(row)
                continue
            found += self._cut(word)
        return found

    def _run(self, texts: list[str]) -> Float:
        vectors = np.zeros((len(texts), self.d), dtype=np.float32)
        scale = math.log(len(self.place) + 1.0)
        for n, text in enumerate(texts):
            rows = np.array([row for row in self.words(text) if row >= 0], dtype=np.int64)
            if not rows.size:
                continue
            if self.pooling == "max":
                vectors[n] = self.table[rows].max(axis=0)
                continue
            weight = RARE / (RARE + 1.0 / ((rows + 1.0) * scale))
            vectors[n] = weight @ self.table[rows] / weight.sum()
        return vectors

    def _row(self, word: str) -> int:
        row = self.place.get(word, -1)
        return row if row >= 0 else self.place.get(word.lower(), -1)

    def _cut(self, word: str) -> list[int]:
        if not self._longest:
            self._longest.append(min(8, max(map(len, self.place), default=1)))
        found, start = [], 0
        while start < len(word):
            for size in range(min(self._longest[0], len(word) - start), 0, -1):
                row = self._row(word[start : start + size])
                if row >= 0 or size == 1:
                    found.append(row)
                    start += size
                    break
        return found


def _read(path: Path) -> tuple[dict[str, int], Float]:
    with path.open("rb") as plain, contextlib.ExitStack() as more:
        file: IO[bytes] = plain
        if path.suffix == ".gz":
            file = cast(IO[bytes], more.enter_context(gzip.open(plain)))
        first = file.readline()
        head = first.split()
        stated: tuple[int, int] | None = None
        if len(head) == 2 and len(first) <= _LONGEST_HEADER and all(h.isdigit() for h in head):
            stated = int(head[0]), int(head[1])
            if stated[1] < 1:
                raise _damaged(path, f"a header of width {stated[1]}")
        # by its ending, and not by its bytes: a binary file may begin with printable ones
        if ".bin" in path.suffixes:
            if stated is None:
                raise _damaged(path, "no header 'words width'")
            return _binary(file, path, *stated)
        return _lines(file, path, b"" if stated is not None else first, stated)


def _lines(
    file: IO[bytes], path: Path, first: bytes, stated: tuple[int, int] | None
) -> tuple[dict[str, int], Float]:
    place: dict[str, int] = {}
    rows: list[Float] = []
    width = None if stated is None else stated[1]
    seen, line, number = 0, first or file.readline(), 1 if first else 2
    while line:
        if not line.endswith(b"\n") and stated is None:
            raise _damaged(path, f"line {number} does not end: cut, or without its last newline")
        text = line.decode("utf-8", "replace").rstrip("\r\n ")
        if text:
            cells = text.split(" ")
            width = len(cells) - 1 if width is None else width
            try:
                # words of GloVe may hold spaces: numbers are counted from the end
                row = np.array(cells[-width:], dtype=np.float32) if width > 0 else None
            except ValueError:
                row = None
            if row is None or len(cells) <= width or not np.isfinite(row).all():
                raise _damaged(path, f"line {number} has not {width} finite numbers after its word")
            word = " ".join(cells[:-width])
            seen += 1
            if word not in place:
                place[word] = len(rows)
                rows.append(row)
        line, number = file.readline(), number + 1
    _all_there(path, stated, seen)
    return place, np.stack(rows)


def _binary(file: IO[bytes], path: Path, n: int, width: int) -> tuple[dict[str, int], Float]:
    place: dict[str, int] = {}
    rows: list[Float] = []
    seen = 0
    data = file.read()
    start, size = 0, 4 * width
    for _ in range(n):
        end = data.find(b" ", start)
        if end < 0 or len(data) < end + 1 + size:
            break
        word = data[start:end].lstrip(b"\n").decode("utf-8", "replace")
        row = np.frombuffer(data, "<f4", width, end + 1).astype(np.float32)
        if not np.isfinite(row).all():
            raise _damaged(path, f"word {seen + 1} has numbers that are not finite")
        seen += 1
        if word not in place:
            place[word] = len(rows)
            rows.append(row)
        start = end + 1 + size
    _all_there(path, (n, width), seen)
    if data[start:].strip(b"\n"):
        raise _damaged(path, f"{len(data) - start} bytes after the last of {n} words")
    return place, np.stack(rows)


def _all_there(path: Path, stated: tuple[int, int] | None, seen: int) -> None:
    if seen == 0 or (stated is not None and seen != stated[0]):
        wanted = "at least one" if stated is None else stated[0]
        raise _damaged(path, f"{seen} words, {wanted} expected: the file is cut")


def _damaged(path: Path, what: str) -> UnreadableFile:
    return UnreadableFile(
        f"the word vectors are damaged: {what}",
        got=str(path),
        allowed="a whole file of word2vec or GloVe (binary ones end in .bin)",
        hint="copy or download the file again",
    )
