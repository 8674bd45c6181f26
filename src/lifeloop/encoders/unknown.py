"""What a tokenizer could not read: the share of tokens that carry no meaning."""

import re
from collections.abc import Collection, Sequence

import numpy as np

from lifeloop.contracts import Double

_CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_ENOUGH = 2000
"""Tokens with Chinese or Japanese characters from which a vocabulary reads them (English BERT
holds about 500 characters, Chinese BERT 7,300)."""


def unknown_shares(
    tokens: Sequence[Sequence[str]], *, unknown: str | None, reads_cjk: bool
) -> Double:
    """Return for each text the share of its tokens that are unknown [n], NaN without tokens.

    A word spelled out letter by letter is not read either (an English WordPiece vocabulary holds
    the Russian alphabet, but no Russian): continuation pieces of one letter (``##и``) in a row
    count as unknown, and so do Chinese and Japanese characters where the vocabulary has few.
    """
    shares = np.full(len(tokens), np.nan)
    for n, row in enumerate(tokens):
        if not row:
            continue
        lost = 0
        spelled = [len(t) == 3 and t.startswith("##") and t[2].isalpha() for t in row]
        for place, token in enumerate(row):
            beside = (place > 0 and spelled[place - 1]) or any(spelled[place + 1 : place + 2])
            lost += (
                token == unknown
                or (spelled[place] and beside)
                or (not reads_cjk and _CJK.search(token) is not None)
            )
        shares[n] = lost / len(row)
    return shares


def reads_cjk(vocabulary: Collection[str]) -> bool:
    """Return whether a vocabulary has enough of Chinese or Japanese to read it."""
    return sum(1 for token in vocabulary if _CJK.search(token)) >= _ENOUGH
