"""Any encoder of ``transformers``, from a folder or by name, with or without a head."""

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
from lifeloop.text_settings import Pooling

BATCH = 32
MOST_TOKENS = 512
"""Longer texts are cut: cost grows with the square, and what matters comes first."""


@dataclass(frozen=True, slots=True)
class Transformer:
    """Tokens of the last hidden layer pooled to one vector. Needs torch (extra ``[train]``).

    A checkpoint without a head, such as ``bert-base-chinese``, is pooled by ``pooling``: ``mean``
    over the tokens that are not padding, ``cls`` (the first), ``max`` per dimension, or ``last``
    (decoder models). ``auto`` is what ``1_Pooling/config.json`` in the folder says, else mean.
    A checkpoint that lacks weights of the body is refused: the library would fill them at random.

    Parameters
    ----------
    folder : Path
        Holds ``config.json``, weights and a tokenizer.
    pooling : {"auto", "mean", "cls", "max", "last"}
        As above.
    item_prefix, query_prefix : str
        Put before texts; models trained with prefixes need theirs.
    query : bool
        Whether this instance reads what people wrote.

    Raises
    ------
    MissingExtra
        torch or transformers is not installed.
    InputError
        The folder is not there or is incomplete (told at the first use, with what is missing).
    """

    folder: Path
    pooling: Pooling = "auto"
    item_prefix: str = ""
    query_prefix: str = ""
    query: bool = False
    max_chars: int = 1000
    _held: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (self.folder / "config.json").is_file():
            raise InputError(
                "this folder holds no model of transformers",
                got=str(self.folder),
                allowed="a folder with config.json, weights and a tokenizer",
            )

    @property
    def id(self) -> str:
        """Folder name, digest of all its files, pooling, prefix and cut."""
        if "id" not in self._held:
            self._held["id"] = f"transformer/{self.folder.name}/{folder_digest(self.folder)}"
        return f"{self._held['id']}/{self.pools}/{self.prefix}/{self.max_chars}"

    @property
    def prefix(self) -> str:
        """What stands before each text."""
        return self.query_prefix if self.query else self.item_prefix

    @property
    def pools(self) -> str:
        """The pooling in use."""
        return pooling_of(self.folder) if self.pooling == "auto" else self.pooling

    @property
    def d(self) -> int:
        """Width of the vectors."""
        return hidden_size(self.folder)

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
        tokenizer, lock = load_tokenizer(self.folder)
        with lock:
            ids = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
            tokens = [tokenizer.convert_ids_to_tokens(row) for row in ids]
        if "cjk" not in self._held:
            self._held["cjk"] = reads_cjk(tokenizer.get_vocab())
        return unknown_shares(tokens, unknown=tokenizer.unk_token, reads_cjk=self._held["cjk"])

    def _run(self, texts: list[str]) -> Float:
        import torch

        model = load_body(self.folder)
        tokenizer, lock = load_tokenizer(self.folder)
        limit = most_tokens(model, tokenizer)
        # by length, so that a batch pads little; the results go back to their places
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = np.zeros((len(texts), self.d), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH):
                rows = order[start : start + BATCH]
                with lock:  # its padding and cutting are state: not from two threads at once
                    asked = tokenizer(
                        [texts[i] for i in rows],
                        padding=True,
                        truncation=True,
                        max_length=limit,
                        return_tensors="pt",
                    )
                hidden = model(**asked).last_hidden_state  # [b, t, d]
                vectors[rows] = pooled(hidden, asked["attention_mask"], self.pools).float().numpy()
        return vectors


def pooled(hidden: Any, attention: Any, how: str) -> Any:
    """Return one vector per row [b, d] of hidden states [b, t, d]; padding never counts."""
    kept = attention.unsqueeze(-1).to(hidden.dtype)  # [b, t, 1]
    if how == "cls":
        return hidden[:, 0]
    if how == "mean":
        return (hidden * kept).sum(1) / kept.sum(1).clamp(min=1.0)
    if how == "max":
        return (hidden * kept + (kept - 1.0) * 1e4).max(1).values
    if how == "last":
        # the last one that is kept, wherever the padding is
        place = attention * (attention.cumsum(1))
        chosen = place.argmax(1)  # [b]
        return hidden.gather(1, chosen.view(-1, 1, 1).expand(-1, 1, hidden.shape[-1])).squeeze(1)
    raise InputError("unknown pooling", got=how, allowed="mean, cls, max or last")


def pooling_of(folder: Path) -> str:
    """Return what ``1_Pooling/config.json`` in a model folder says, else ``mean``."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    told = read_json(path)
    names = {
        "pooling_mode_cls_token": "cls",
        "pooling_mode_max_tokens": "max",
        "pooling_mode_lasttoken": "last",
        "pooling_mode_mean_tokens": "mean",
    }
    if isinstance(mode := told.get("pooling_mode"), str):
        return {"lasttoken": "last"}.get(mode, mode)
    return next((how for key, how in names.items() if told.get(key)), "mean")


def hidden_size(folder: Path) -> int:
    """Return the width that ``config.json`` of a model folder states."""
    told = read_json(folder / "config.json")
    for key in ("hidden_size", "d_model", "dim", "n_embd"):
        if isinstance(told.get(key), int):
            return int(told[key])
    raise InputError(
        "the model folder does not say how wide its vectors are",
        got=str(folder),
        allowed="config.json with hidden_size",
    )


def most_tokens(model: Any, tokenizer: Any) -> int:
    """Return how many tokens the model reads: its positions, less those its padding takes.

    RoBERTa counts positions from ``padding_idx + 1``; 514 positions are 512 tokens.
    """
    limits = [MOST_TOKENS]
    stated = getattr(model.config, "max_position_embeddings", None)
    if isinstance(stated, int) and stated > 0:
        limits.append(stated)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and hasattr(module, "num_embeddings"):
            pad = getattr(module, "padding_idx", None)
            limits.append(module.num_embeddings - (0 if pad is None else int(pad) + 1))
    own = getattr(tokenizer, "model_max_length", None)
    if isinstance(own, int) and 0 < own < 1_000_000:
        limits.append(own)
    return max(1, min(limits))


def load_body(folder: Path) -> Any:
    """Return the model of a folder without its head, ready to be asked; kept by the process.

    Raises
    ------
    InputError
        Files are missing or cut, or the checkpoint lacks weights of the body.
    """
    return _body(folder, folder_digest(folder))


def load_tokenizer(folder: Path) -> tuple[Any, threading.Lock]:
    """Return the tokenizer of a folder and the lock under which it is used."""
    return _tokenizer(folder, folder_digest(folder))


@functools.lru_cache(maxsize=4)
def _body(folder: Path, digest: str) -> Any:
    transformers = _library()
    log = transformers.utils.logging
    before = log.get_verbosity()
    try:
        log.set_verbosity_error()  # its report of a missing head; what matters is checked below
        model, told = transformers.AutoModel.from_pretrained(
            str(folder), local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # RuntimeError, SafetensorError, KeyError … of damaged files
        raise incomplete(folder, error) from error
    finally:
        log.set_verbosity(before)
    lacking = sorted(k for k in told.get("missing_keys", ()) if "pooler" not in k)
    wrong = sorted(str(k) for k in told.get("mismatched_keys", ()))
    if lacking or wrong:
        raise InputError(
            "the model folder lacks weights, which would be filled at random",
            got=[*lacking, *wrong][:5],
            hint="download the whole model again",
        )
    return model.eval()


@functools.lru_cache(maxsize=4)
def _tokenizer(folder: Path, digest: str) -> tuple[Any, threading.Lock]:
    transformers = _library()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # as varied as the formats of tokenizers
        raise incomplete(folder, error) from error
    # without its files the library makes an empty one, to which every word is unknown
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise InputError(
            "the model folder holds no vocabulary",
            got=str(folder),
            hint="copy tokenizer.json, vocab.txt or the like into it",
        )
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise InputError(
                "the tokenizer has no token to pad with", got=str(folder), hint="add a pad_token"
            )
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer, threading.Lock()


def fetched(name: str) -> Path:
    """Return the folder of a model by name: from the local hub cache, else downloaded.

    Raises
    ------
    InputError
        The name is unknown, or there is no network and the model was never downloaded.
    """
    _library()
    import huggingface_hub

    wanted = ["*.json", "*.txt", "*.model", "*.safetensors", "*.bin", "*/config.json"]
    ignored = ["onnx/*", "openvino/*", "*.onnx", "tf_model*", "flax_model*"]
    for local in (True, False):
        try:
            found = huggingface_hub.snapshot_download(
                name, allow_patterns=wanted, ignore_patterns=ignored, local_files_only=local
            )
        except Exception as error:  # the hub's own errors, httpx's, and bad names
            if not local:
                raise InputError(
                    f"the model could not be fetched ({type(error).__name__})",
                    got=name,
                    hint="check the name and the network, or give the folder of a copy",
                ) from error
            continue
        if (Path(found) / "config.json").is_file():
            return Path(found)
    raise InputError("the name holds no model of transformers", got=name)


def _library() -> Any:
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError:
        raise MissingExtra("this text encoder", "train") from None
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return transformers


def incomplete(folder: Path, error: Exception) -> InputError:
    """Return what to raise where a library could not load a model folder."""
    return InputError(
        f"the model folder could not be loaded ({type(error).__name__}: {str(error)[:200]})",
        got=str(folder),
        hint="files are missing or cut: copy or download the whole folder again",
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file in a model folder."""
    try:
        told = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} could not be read ({error})", got=str(path)) from error
    if not isinstance(told, dict):
        raise InputError(f"{path.name} is not a JSON object", got=str(path))
    return told
