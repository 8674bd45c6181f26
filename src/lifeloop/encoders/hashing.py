"""Character n-grams hashed into a vector: reads any script, learns nothing, needs no file."""

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lifeloop.contracts import Bool, Double, Float
from lifeloop.encoders.readable import encode_readable

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


@dataclass(frozen=True, slots=True)
class NgramHash:
    """Texts that share letters in a row are close: 绿茶 is near 绿茶叶 without any model.

    Words of scripts without spaces (Chinese, Japanese, Thai …) give characters and pairs of them;
    other words, as ``<word>``, give their runs of 3 and 4 letters and themselves. Each n-gram has
    a place and a sign by CRC-32; counts c weigh 1 + ln c, single characters half.
    """

    d: int = 512
    max_chars: int = 1000

    @property
    def id(self) -> str:
        """Width and cut: everything the vectors depend on."""
        return f"ngram-hash-1/{self.d}/{self.max_chars}"

    def encode(self, texts: Sequence[str]) -> tuple[Float, Bool]:
        """Return unit vectors [n, d] and a mask [n], False for texts without a letter or digit.

        Symbols and emoji count as words of their own where a text has nothing else.
        """
        return encode_readable(texts, self._run, d=self.d, max_chars=self.max_chars)

    def unknown(self, texts: Sequence[str]) -> Double:
        """Return zeros [n]: there is no script that it does not read."""
        return np.zeros(len(texts))

    def _run(self, texts: list[str]) -> Float:
        vectors = np.zeros((len(texts), self.d), dtype=np.float32)
        for n, text in enumerate(texts):
            for gram, count in Counter(ngrams(text)).items():
                code = zlib.crc32(gram.encode("utf-8", "surrogatepass"))
                weight = (1.0 + np.log(count)) * (0.5 if len(gram) == 1 else 1.0)
                vectors[n, (code >> 1) % self.d] += weight if code & 1 else -weight
        return vectors


def ngrams(text: str) -> list[str]:
    """Return the n-grams of a text, repeated as often as they occur.

    Examples
    --------
    >>> ngrams("绿茶")
    ['绿', '茶', '绿茶']
    >>> ngrams("Tea")
    ['<te', 'tea', 'ea>', '<tea', 'tea>', '<tea>']
    """
    found: list[str] = []
    words = _WORD.findall(text.casefold()) or [c for c in text if not c.isspace()]
    for word in words:
        if _UNSPACED.search(word):
            found += list(word)
            found += [word[i : i + 2] for i in range(len(word) - 1)]
            continue
        whole = f"<{word}>"
        for size in (3, 4):
            found += [whole[i : i + size] for i in range(len(whole) - size + 1)]
        if len(whole) > 4:
            found.append(whole)
    return found
