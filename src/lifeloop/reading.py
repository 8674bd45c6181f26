"""Texts as vectors of one space: the catalogue when models are trained, a person's at a request."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.config import Models
from lifeloop.contracts import Encoder, Float, Int, Progress, silent
from lifeloop.encoders import (
    E5,
    FittedTfidfSvd,
    NgramHash,
    VectorCache,
    WithFallback,
    centred,
    choose,
    common_part,
    encode_catalogue,
    item_text,
    open_encoder,
    query_side,
)
from lifeloop.errors import BundleError, InputError, MissingExtra
from lifeloop.text_settings import TextEncoding

_REMEMBERED = 4096


@dataclass(frozen=True, slots=True, eq=False)
class TextReader:
    """Turns what a person typed into a vector of the catalogue's space.

    The newest texts are remembered by hash, in this process only: a person who is served again
    costs nothing, and nothing that a person wrote is kept on a disk.
    """

    encoder: Encoder
    mean: Float  # [d]; zeros where the encoder is not centred
    made_by: str = ""  # what the encoder is called in the settings
    settings: TextEncoding = field(default_factory=TextEncoding)
    _seen: "OrderedDict[bytes, Float]" = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def read(self, text: str) -> Float:
        """Return one vector [d], all zero where there is nothing to read."""
        return np.asarray(self.read_all([text])[0])

    def read_all(self, texts: Sequence[str]) -> Float:
        """Return one vector per text [n, d], all zero where there is nothing to read."""
        keys = [hashlib.blake2b(t.encode("utf-8", "surrogatepass")).digest() for t in texts]
        with self._lock:
            held = {key: self._seen[key] for key in keys if key in self._seen}
        fresh = {key: text for key, text in zip(keys, texts, strict=True) if key not in held}
        if fresh:
            made, _ = self.encoder.encode(list(fresh.values()))
            rows = dict(zip(fresh, centred(made, self.mean), strict=True))
            held |= rows
            with self._lock:
                self._seen.update(rows)
                while len(self._seen) > _REMEMBERED:
                    self._seen.popitem(last=False)
        return np.stack([held[key] for key in keys])


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The catalogue as vectors, and how they were made."""

    content: Float  # [c, d]
    content_ix: Int  # [I]
    encoder: Encoder | None
    reader: TextReader | None
    notes: tuple[str, ...]


def encode_items(
    items: pl.DataFrame,
    settings: Models,
    *,
    cache: VectorCache | None,
    home: Path = Path("."),
    progress: Progress = silent,
) -> Encoded:
    """Return the content vectors of a catalogue, and the reader of texts that fits them.

    See ``lifeloop.encoders.choose`` for which encoder is taken. ``home`` is where relative paths
    of models are looked for.
    """
    if settings.text_encoder == "none" or items.is_empty():
        nothing = np.zeros((0, 1), np.float32)
        return Encoded(nothing, np.full(items.height, -1, np.int32), None, None, ())
    chosen = choose(
        item_text(items), settings.text_encoder, settings.text, home=home, seed=settings.seed
    )
    encoder = chosen.encoder
    content, content_ix = encode_catalogue(items, encoder, cache=cache, progress=progress)
    mean = common_part(encoder, content)
    content = centred(content, mean)
    reader = TextReader(query_side(encoder), mean, chosen.name, settings.text)
    return Encoded(content, content_ix, encoder, reader, chosen.notes)


def reader_arrays(reader: TextReader) -> dict[str, NDArray[Any]]:
    """Return what a bundle keeps of a reader: its mean, its name, and TF-IDF's whole state."""
    state: dict[str, NDArray[Any]] = {
        "mean": reader.mean,
        "name": _bytes(reader.made_by),
        "settings": _bytes(reader.settings.model_dump_json()),
        "fallback": np.array([isinstance(reader.encoder, WithFallback)]),
    }
    if isinstance(reader.encoder, FittedTfidfSvd):
        state |= {f"tfidf.{name}": a for name, a in reader.encoder.arrays().items()}
    return state


def load_reader(state: Mapping[str, NDArray[Any]], made_by: str, *, home: Path) -> TextReader:
    """Rebuild a reader from ``reader_arrays``.

    Parameters
    ----------
    made_by : str
        Id of the encoder that made the bundle's vectors.

    Raises
    ------
    BundleError
        The encoder is not there any more, or is not the one that made the bundle's vectors.
    """
    mean = np.asarray(state["mean"])
    arrays = {k.removeprefix("tfidf."): v for k, v in state.items() if k.startswith("tfidf.")}
    name = _text(state["name"]) if "name" in state else ("tfidf" if arrays else "e5")
    settings = (
        TextEncoding.model_validate_json(_text(state["settings"]))
        if "settings" in state
        else TextEncoding()
    )
    if arrays:
        here: Encoder = FittedTfidfSvd.load(arrays)
    else:
        try:
            here = E5() if name == "e5" and "name" not in state else _opened(name, settings, home)
        except (InputError, MissingExtra) as error:
            raise BundleError(
                f"the text encoder of this bundle cannot be opened ({error})",
                got=name,
                hint="put it back where it was, or lifeloop train",
            ) from error
        if "fallback" in state and bool(state["fallback"][0]):
            here = WithFallback(here, NgramHash(max_chars=settings.max_chars))
    if here.id != made_by:
        raise BundleError(
            "the text encoder is not the one that made this bundle's vectors",
            got=here.id,
            allowed=made_by,
            hint="lifeloop train, or install the version that the bundle names",
        )
    return TextReader(query_side(here), mean, name, settings)


def _opened(name: str, settings: TextEncoding, home: Path) -> Encoder:
    return open_encoder(name, settings, home=home)


def _bytes(text: str) -> NDArray[Any]:
    return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).copy()


def _text(array: NDArray[Any]) -> str:
    return np.asarray(array, dtype=np.uint8).tobytes().decode("utf-8")
