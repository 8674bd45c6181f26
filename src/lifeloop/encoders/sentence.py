"""Any model of ``sentence-transformers``, from a folder or by name."""

import functools
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

BATCH = 32


@dataclass(frozen=True, slots=True)
class SentenceModel:
    """A folder in the layout of ``sentence-transformers``. Needs the extra ``[train]``.

    The model's own pooling, further layers and prompts are used; prefixes given here stand in for
    its prompts.

    Raises
    ------
    MissingExtra
        sentence-transformers is not installed.
    InputError
        The folder is not there or is incomplete.
    """

    folder: Path
    item_prefix: str = ""
    query_prefix: str = ""
    query: bool = False
    max_chars: int = 1000
    _held: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (self.folder / "modules.json").is_file():
            raise InputError(
                "this folder holds no model of sentence-transformers",
                got=str(self.folder),
                allowed="a folder with modules.json",
                hint="a plain transformers folder is named hf:FOLDER",
            )

    @property
    def id(self) -> str:
        """Folder name, digest of all its files, side, prefix and cut."""
        if "id" not in self._held:
            self._held["id"] = f"sentence/{self.folder.name}/{folder_digest(self.folder)}"
        side = "query" if self.query else "item"
        return f"{self._held['id']}/{side}/{self.prefix}/{self.max_chars}"

    @property
    def prefix(self) -> str:
        """What stands before each text, beside the model's own prompt."""
        return self.query_prefix if self.query else self.item_prefix

    @property
    def d(self) -> int:
        """Width of the vectors."""
        if "d" not in self._held:
            model, _ = _loaded(self.folder, folder_digest(self.folder))
            stated = getattr(model, "get_embedding_dimension", None)
            width = stated() if stated is not None else model.get_sentence_embedding_dimension()
            if width is None:  # a last module that does not say it: ask
                width = len(model.encode(["a"])[0])
            self._held["d"] = int(width)
        return int(self._held["d"])

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
        model, lock = _loaded(self.folder, folder_digest(self.folder))
        with lock:
            rows = [model.tokenizer.tokenize(text) for text in texts]
        if "cjk" not in self._held:
            self._held["cjk"] = reads_cjk(model.tokenizer.get_vocab())
        return unknown_shares(rows, unknown=model.tokenizer.unk_token, reads_cjk=self._held["cjk"])

    def _run(self, texts: list[str]) -> Float:
        model, lock = _loaded(self.folder, folder_digest(self.folder))
        ask = model.encode_query if self.query else model.encode_document
        own: dict[str, Any] = {"prompt": ""} if self.prefix else {}
        with lock:
            made = ask(
                texts, batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True, **own
            )
        return np.asarray(made, dtype=np.float32)


@functools.lru_cache(maxsize=4)
def _loaded(folder: Path, digest: str) -> tuple[Any, threading.Lock]:
    try:
        import sentence_transformers
    except ImportError:
        raise MissingExtra("this text encoder", "train") from None
    import transformers

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = sentence_transformers.SentenceTransformer(
            str(folder), device="cpu", local_files_only=True
        )
    except Exception as error:  # whatever its modules raise on damaged files
        raise InputError(
            f"the model folder could not be loaded ({type(error).__name__}: {str(error)[:200]})",
            got=str(folder),
            hint="files are missing or cut: copy or download the whole folder again",
        ) from error
    return model.eval(), threading.Lock()
