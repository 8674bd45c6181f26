"""A text model exported to ONNX: served by onnxruntime and tokenizers, without torch."""

import functools
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from lifeloop.contracts import Bool, Double, Float
from lifeloop.encoders.readable import encode_readable, folder_digest
from lifeloop.encoders.unknown import reads_cjk, unknown_shares
from lifeloop.errors import InputError, MissingExtra
from lifeloop.onnx_session import onnx_session

MANIFEST = "lifeloop_encoder.json"
MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
SCHEMA = 1
BATCH = 4
"""Small: what a layer writes then stays in the cache (long texts 1.45 times as fast as with 16)."""
BLOCK = 1024
"""Texts whose tokens are held at once."""


@dataclass(frozen=True, slots=True)
class OnnxText:
    """What ``lifeloop encoders build`` wrote: network, tokenizer and a manifest in one folder.

    Needs the extra ``[onnx]``. The pooling is part of the network. Prefixes are those of the
    manifest unless others are given.

    Raises
    ------
    MissingExtra
        onnxruntime or tokenizers is not installed.
    InputError
        The folder is incomplete or of another making.
    """

    folder: Path
    item_prefix: str = ""
    query_prefix: str = ""
    query: bool = False
    max_chars: int = 1000
    threads: int = 1
    _held: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        missing = [n for n in (MANIFEST, MODEL, TOKENIZER) if not (self.folder / n).is_file()]
        if missing:
            raise InputError(
                f"the encoder folder lacks {', '.join(missing)}",
                got=str(self.folder),
                hint="lifeloop encoders build",
            )
        self._held["manifest"] = _manifest(self.folder)

    @property
    def manifest(self) -> dict[str, Any]:
        """What was exported from what, and how well both agree."""
        held: dict[str, Any] = self._held["manifest"]
        return held

    @property
    def id(self) -> str:
        """Name, digest of all files, prefix and cut."""
        if "id" not in self._held:
            self._held["id"] = f"onnx/{self.manifest['name']}/{folder_digest(self.folder)}"
        return f"{self._held['id']}/{self.prefix}/{self.max_chars}"

    @property
    def d(self) -> int:
        """Width of the vectors."""
        return int(self.manifest["d"])

    @property
    def prefix(self) -> str:
        """What stands before each text."""
        given = self.query_prefix if self.query else self.item_prefix
        stated = self.manifest["query_prefix" if self.query else "item_prefix"]
        return given or str(stated)

    def for_queries(self) -> Self:
        """Return the same encoder for what people wrote."""
        return replace(self, query=True)

    def encode(self, texts: Sequence[str]) -> tuple[Float, Bool]:
        """Return unit vectors [n, d] and a mask [n], False for texts with nothing to read."""
        return encode_readable(
            texts, self._run, d=self.d, max_chars=self.max_chars, prefix=self.prefix
        )

    def unknown(self, texts: Sequence[str]) -> Double:
        """Return the share of tokens of each text that the vocabulary does not hold [n]."""
        tokenizer, lock = _tokenizer(self.folder, folder_digest(self.folder))
        with lock:
            tokenizer.no_padding()
            rows = [r.tokens for r in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        if "cjk" not in self._held:
            self._held["cjk"] = reads_cjk(tokenizer.get_vocab())
        unknown = self.manifest["unknown_token"]
        return unknown_shares(rows, unknown=unknown, reads_cjk=self._held["cjk"])

    def _run(self, texts: list[str]) -> Float:
        digest = folder_digest(self.folder)
        session = _session(self.folder, digest, self.threads)
        tokenizer, lock = _tokenizer(self.folder, digest)
        wanted = {one.name for one in session.get_inputs()}
        # by tokens, so that a batch pads little; blocks of like length, for what they hold is large
        by_chars = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = np.zeros((len(texts), self.d), dtype=np.float32)
        for block in range(0, len(texts), BLOCK):
            within = by_chars[block : block + BLOCK]
            with lock:  # its cutting is state: not from two threads at once
                tokenizer.enable_truncation(int(self.manifest["max_tokens"]))
                tokenizer.no_padding()
                read = tokenizer.encode_batch([texts[i] for i in within])
            order = sorted(range(len(within)), key=lambda k: len(read[k].ids))
            for start in range(0, len(order), BATCH):
                batch = order[start : start + BATCH]
                fed = self._padded([read[k] for k in batch])
                rows = [within[k] for k in batch]
                (vectors[rows],) = session.run(None, {k: v for k, v in fed.items() if k in wanted})
        return vectors

    def _padded(self, read: list[Any]) -> dict[str, Any]:
        wide = max(len(one.ids) for one in read)
        shape = (len(read), wide)
        fed = {
            "input_ids": np.full(shape, int(self.manifest["pad_id"]), dtype=np.int64),  # [b, t]
            "attention_mask": np.zeros(shape, dtype=np.int64),
            "token_type_ids": np.zeros(shape, dtype=np.int64),
        }
        for row, one in enumerate(read):
            n = len(one.ids)
            fed["input_ids"][row, :n] = one.ids
            fed["attention_mask"][row, :n] = one.attention_mask
            fed["token_type_ids"][row, :n] = one.type_ids
        return fed


def is_onnx_folder(folder: Path) -> bool:
    """Return whether ``lifeloop encoders build`` wrote this folder."""
    return (folder / MANIFEST).is_file()


@functools.lru_cache(maxsize=4)
def _session(folder: Path, digest: str, threads: int) -> Any:
    try:
        return onnx_session(folder / MODEL, needed_for="the exported text encoder", threads=threads)
    except MissingExtra:
        raise
    except Exception as error:  # onnxruntime raises its own kinds for damaged files
        raise _damaged(folder, error) from error


@functools.lru_cache(maxsize=4)
def _tokenizer(folder: Path, digest: str) -> tuple[Any, threading.Lock]:
    try:
        import tokenizers
    except ImportError:
        raise MissingExtra("the exported text encoder", "onnx") from None
    try:
        return tokenizers.Tokenizer.from_file(str(folder / TOKENIZER)), threading.Lock()
    except Exception as error:  # tokenizers raises plain Exception
        raise _damaged(folder, error) from error


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / MANIFEST).read_text("utf-8"))
        if told["schema"] != SCHEMA:
            raise ValueError(f"schema {told['schema']}, {SCHEMA} expected")
        for key in (
            "name",
            "d",
            "max_tokens",
            "pad_id",
            "pad_token",
            "item_prefix",
            "query_prefix",
        ):
            told[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from error
    held: dict[str, Any] = told
    return held


def _damaged(folder: Path, error: Exception) -> InputError:
    return InputError(
        f"the encoder folder could not be used ({type(error).__name__}: {str(error)[:200]})",
        got=str(folder),
        hint="build it again: lifeloop encoders build",
    )
