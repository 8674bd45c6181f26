"""Texts as vectors of one space: the catalogue when models are trained, a person's at a request."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from lifeloop.encoders.fusion import Modality
from lifeloop.errors import BundleError, InputError, MissingExtra
from lifeloop.modalities import joined
from lifeloop.text_settings import TextEncoding

_REMEMBERED = 4096
_SOME = 3
"""Items named in a note."""


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
    width: int = 0  # of the space that texts share with pictures and sounds; 0: the encoder's
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
            made = centred(made, self.mean)  # [n, d]; texts are the first block of the space
            made = np.pad(made, ((0, 0), (0, max(0, self.width - made.shape[1]))))
            rows = dict(zip(fresh, made, strict=True))
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
    blocks: tuple[int, ...] = ()  # widths of text, picture and sound; (): only one of them
    modalities: tuple[dict[str, Any], ...] = ()  # one per modality, where there are pictures …


def encode_items(
    items: pl.DataFrame,
    settings: Models,
    *,
    cache: VectorCache | None,
    home: Path = Path("."),
    interactions: pl.DataFrame | None = None,
    progress: Progress = silent,
) -> Encoded:
    """Return the content vectors of a catalogue, and the reader of texts that fits them.

    See ``lifeloop.encoders.choose`` for which encoder is taken, and ``modalities.joined`` for
    pictures and sounds. ``home`` is where relative paths of models and files are looked for.
    ``interactions`` teach the weights of the modalities: none that a test asks for.
    """
    if items.is_empty():
        return Encoded(np.zeros((0, 1), np.float32), np.empty(0, np.int32), None, None, ())
    text = _encode_texts(items, settings, cache=cache, home=home, progress=progress)
    made = joined(
        items,
        None if text.encoder is None else Modality("text", text.content, text.content_ix),
        settings.media,
        home=home,
        interactions=interactions,
        cache=cache,
        seed=settings.seed,
        progress=progress,
    )
    reader = text.reader
    if reader is not None and made.blocks:
        reader = replace(reader, width=sum(made.blocks))
    asked = text.encoder is not None or bool(made.parts)
    silent_items = _silent_items(items, made.content_ix) if asked else ()
    return Encoded(
        content=made.content,
        content_ix=made.content_ix,
        encoder=text.encoder,
        reader=reader,
        notes=(*text.notes, *made.notes, *silent_items),
        blocks=made.blocks,
        modalities=made.parts,
    )


def _silent_items(items: pl.DataFrame, content_ix: Int) -> tuple[str, ...]:
    """Return a sentence on items in which no encoder found anything, if there are any."""
    bare = np.flatnonzero(content_ix < 0)
    if not len(bare):
        return ()
    some = ", ".join(str(items["item_id"][int(n)]) for n in bare[:_SOME])
    more = ", …" if len(bare) > _SOME else ""
    return (
        f"{len(bare):,} of {items.height:,} items say nothing that an encoder can read "
        f"({some}{more}): nothing is recommended for their content",
    )


def _encode_texts(
    items: pl.DataFrame,
    settings: Models,
    *,
    cache: VectorCache | None,
    home: Path,
    progress: Progress,
) -> Encoded:
    if settings.text_encoder == "none":
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
        "width": np.array([reader.width], dtype=np.int64),
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
    width = int(state["width"][0]) if "width" in state else 0
    return TextReader(query_side(here), mean, name, settings, width)


def _opened(name: str, settings: TextEncoding, home: Path) -> Encoder:
    return open_encoder(name, settings, home=home)


def _bytes(text: str) -> NDArray[Any]:
    return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).copy()


def _text(array: NDArray[Any]) -> str:
    return np.asarray(array, dtype=np.uint8).tobytes().decode("utf-8")
