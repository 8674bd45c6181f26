"""Texts that a model cannot read, beside those that it can: two blocks of one vector."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lifeloop.contracts import Bool, Double, Encoder, Float
from lifeloop.encoders.hashing import NgramHash

UNREADABLE = 0.3
"""Share of unknown tokens from which a text is not read by the model."""


@dataclass(frozen=True, slots=True)
class WithFallback:
    """The model where it can read, character n-grams where it cannot.

    A readable text fills the first block of the vector, another one the second. The cosine of a
    text of one kind with one of the other is 0: nothing is known of the pair, and nothing is said.

    Parameters
    ----------
    model : Encoder
        Has ``unknown(texts)``.
    """

    model: Any
    plain: NgramHash

    @property
    def id(self) -> str:
        """Both encoders and the border between them."""
        return f"{self.model.id}+{self.plain.id}/{UNREADABLE}"

    @property
    def d(self) -> int:
        """Width of both blocks together."""
        return int(self.model.d) + self.plain.d

    def for_queries(self) -> Self:
        """Return the same for what people wrote."""
        return type(self)(query_side(self.model), self.plain)

    def encode(self, texts: Sequence[str]) -> tuple[Float, Bool]:
        """Return unit vectors [n, d] and a mask [n]."""
        vectors = np.zeros((len(texts), self.d), dtype=np.float32)
        mask = np.zeros(len(texts), dtype=np.bool_)
        lost = self.unreadable(texts)
        width = int(self.model.d)
        for chosen, encoder, block in (
            (np.flatnonzero(~lost), self.model, slice(0, width)),
            (np.flatnonzero(lost), self.plain, slice(width, None)),
        ):
            if len(chosen):
                made, seen = encoder.encode([texts[int(i)] for i in chosen])
                vectors[chosen, block], mask[chosen] = made, seen
        return vectors, mask

    def unreadable(self, texts: Sequence[str]) -> Bool:
        """Return which texts go to the n-grams [n]."""
        return unreadable(self.model, texts)

    def unknown(self, texts: Sequence[str]) -> Double:
        """Return the share of tokens that the model does not know [n]."""
        return np.asarray(self.model.unknown(texts), dtype=np.float64)


def unreadable(model: Any, texts: Sequence[str]) -> Bool:
    """Return which texts a model cannot read [n]; all False where it cannot say."""
    tell = getattr(model, "unknown", None)
    if tell is None or not len(texts):
        return np.zeros(len(texts), dtype=np.bool_)
    shares = np.asarray(tell(texts), dtype=np.float64)
    return np.asarray(np.where(np.isnan(shares), 0.0, shares) >= UNREADABLE)


def query_side(encoder: Encoder) -> Encoder:
    """Return the encoder for what people wrote: another prefix or prompt where it has one."""
    other = getattr(encoder, "for_queries", None)
    found: Encoder = encoder if other is None else other()
    return found
