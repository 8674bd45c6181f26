"""Any vision model in a folder: CLIP, ViT, DINO, ConvNeXt of ``transformers``; all of timm."""

import importlib.util
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lifeloop.contracts import Float
from lifeloop.encoders.media.files import each_file
from lifeloop.encoders.media.onnx_picture import READS, scaled
from lifeloop.encoders.media.picture import Pixels, read_picture
from lifeloop.encoders.media.timm_folder import load_timm
from lifeloop.encoders.readable import folder_digest
from lifeloop.encoders.transformer import load_body, read_json
from lifeloop.errors import InputError

BATCH = 16
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet: what a folder that states none was trained with."""


@dataclass(frozen=True, slots=True)
class VisionFolder:
    """One vector per picture from a model folder. Needs torch (``[train]``) and ``[media]``.

    CLIP and its kind: the picture's side of the space that pictures and texts share. Others: the
    pooled output, else the mean over the places of the last hidden layer. Size, middle and spread
    of the levels are those that ``preprocessor_config.json`` (or, for timm, ``config.json``)
    states. A folder of timm needs the package timm, and the torchvision of
    the installed torch.

    Raises
    ------
    MissingExtra
        torch, transformers or Pillow is not installed.
    InputError
        The folder is not there or is incomplete.
    """

    folder: Path
    _held: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (self.folder / "config.json").is_file():
            raise InputError(
                "this folder holds no vision model of transformers",
                got=str(self.folder),
                allowed="a folder with config.json, weights and preprocessor_config.json",
            )
        told = read_json(self.folder / "config.json")
        if "pretrained_cfg" in told and importlib.util.find_spec("timm") is None:
            raise InputError(
                "this folder holds a model of timm, which is not installed",
                got=str(self.folder),
                hint="pip install timm",
            )
        self._held["by_timm"] = "pretrained_cfg" in told
        self._held["sizes"] = _sizes(self.folder)

    @property
    def id(self) -> str:
        """Folder name, digest of all its files, and the way of reading pictures."""
        if "id" not in self._held:
            digest = folder_digest(self.folder)
            self._held["id"] = f"vision/{self.folder.name}/{digest}/{READS}"
        return str(self._held["id"])

    @property
    def d(self) -> int:
        """Width of the vectors, found by asking once."""
        with self._lock:
            if "d" not in self._held:
                crop = self._held["sizes"]["crop"]
                blank = np.zeros((crop, crop, 3), dtype=np.uint8)
                self._held["d"] = int(self._run([blank]).shape[1])
        return int(self._held["d"])

    def encode(self, files: Sequence[Path]) -> tuple[Float, tuple[str | None, ...]]:
        """Return unit vectors [n, d] and why a file has none [n]."""
        return each_file(files, self._read, self._run, d=self.d, batch=BATCH)

    def _read(self, path: Path) -> Pixels:
        sizes = self._held["sizes"]
        return read_picture(path, resize=sizes["resize"], crop=sizes["crop"])

    def _run(self, pictures: list[Pixels]) -> Float:
        model = load_timm(self.folder) if self._held["by_timm"] else load_body(self.folder)
        import torch

        sizes = self._held["sizes"]
        mean = [255.0 * v for v in sizes["mean"]]
        std = [255.0 * v for v in sizes["std"]]
        pixels = torch.from_numpy(scaled(pictures, mean, std))  # [n, 3, h, w]
        with torch.inference_mode():
            if self._held["by_timm"]:
                made = model(pixels)
            elif hasattr(model, "get_image_features"):
                made = model.get_image_features(pixel_values=pixels)
            else:
                made = model(pixel_values=pixels)
            return np.asarray(_one_each(made).float().numpy(), dtype=np.float32)


def _one_each(made: Any) -> Any:
    """Return one vector per picture [n, d] of whatever a model answers."""
    pooled = getattr(made, "pooler_output", None)
    if pooled is not None:
        return pooled.flatten(1)
    hidden = getattr(made, "last_hidden_state", made)
    if hidden.dim() == 4:  # [n, d, h, w]
        return hidden.mean((2, 3))
    return hidden.mean(1) if hidden.dim() == 3 else hidden  # [n, t, d] or [n, d]


def _sizes(folder: Path) -> dict[str, Any]:
    """Return how pictures are handed over: ``resize``, ``crop``, ``mean`` and ``std`` (of 1)."""
    path = folder / "preprocessor_config.json"
    if path.is_file():
        told = read_json(path)
        resize = _side(told.get("size"), 224)
        crops = told.get("do_center_crop", "crop_size" in told)
        crop = _side(told.get("crop_size"), resize) if crops else resize
        share = told.get("crop_pct")
        if not crops and isinstance(share, float) and 0 < share <= 1:  # ConvNeXt
            crop, resize = resize, round(resize / share)
        mean, std = told.get("image_mean", MEAN), told.get("image_std", STD)
    else:
        told = read_json(folder / "config.json")
        stated = told.get("pretrained_cfg")
        if not isinstance(stated, dict):
            raise InputError(
                "the model folder does not say how it takes pictures",
                got=str(folder),
                allowed="preprocessor_config.json, or timm's config.json with pretrained_cfg",
            )
        crop = int(stated.get("input_size", (3, 224, 224))[-1])
        resize = round(crop / float(stated.get("crop_pct", 0.875)))
        mean, std = stated.get("mean", MEAN), stated.get("std", STD)
    if not (0 < crop <= resize <= 4096 and len(mean) == len(std) == 3 and min(std) > 0):
        raise InputError(
            "the model folder states sizes that no picture has",
            got={"resize": resize, "crop": crop, "mean": mean, "std": std},
            allowed="crop <= resize <= 4096 pixels, three positive spreads",
        )
    return {"resize": resize, "crop": crop, "mean": list(mean), "std": list(std)}


def _side(stated: Any, otherwise: int) -> int:
    if isinstance(stated, dict):
        stated = stated.get("shortest_edge") or stated.get("height") or stated.get("width")
    return int(stated) if isinstance(stated, int | float) and stated > 0 else otherwise
