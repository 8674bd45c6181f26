"""In which scripts texts are written, by code points."""

from collections.abc import Iterable

import numpy as np

BLOCKS: dict[str, tuple[tuple[int, int], ...]] = {
    "latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF)),
    "greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "cyrillic": ((0x400, 0x52F),),
    "armenian": ((0x530, 0x58F),),
    "hebrew": ((0x590, 0x5FF),),
    "arabic": ((0x600, 0x6FF), (0x750, 0x77F), (0x8A0, 0x8FF), (0xFB50, 0xFDFF)),
    "devanagari": ((0x900, 0x97F),),
    "bengali": ((0x980, 0x9FF),),
    "tamil": ((0xB80, 0xBFF),),
    "thai": ((0xE00, 0xE7F),),
    "georgian": ((0x10A0, 0x10FF),),
    "hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF)),
    "kana": ((0x3040, 0x30FF), (0x31F0, 0x31FF)),
    "han": ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
}
READERS = {
    "han": "e5 (extra [text]), or a Chinese model such as hf:bert-base-chinese",
    "kana": "e5 (extra [text]), or a Japanese model such as hf:tohoku-nlp/bert-base-japanese-v3",
}
ANY_READER = "e5 (extra [text]), which reads about a hundred languages"


def scripts(texts: Iterable[str]) -> dict[str, float]:
    """Return the share of letters in each script, largest first; digits and signs do not count.

    Examples
    --------
    >>> scripts(["绿茶 tea"])
    {'latin': 0.6, 'han': 0.4}
    """
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    counts: dict[str, int] = {}
    for name, blocks in BLOCKS.items():
        n = sum(int(((codes >= lo) & (codes <= hi)).sum()) for lo, hi in blocks)
        if n:
            counts[name] = n
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda one: -one[1])
    return {name: n / total for name, n in ordered}


def reader_for(script: str) -> str:
    """Return, in words, a model that reads a script."""
    return READERS.get(script, ANY_READER)
