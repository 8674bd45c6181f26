"""A picture network exported to ONNX: run by onnxruntime, without torch."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lifeloop.contracts import Float
from lifeloop.encoders.media.files import each_file
from lifeloop.encoders.media.picture import Pixels, read_picture
from lifeloop.encoders.readable import folder_digest
from lifeloop.errors import InputError, MissingExtra
from lifeloop.onnx_session import onnx_session

MANIFEST = "lifeloop_picture_encoder.json"
MODEL = "model.onnx"
SCHEMA = 1
BATCH = 16
READS = 1
"""Raise when pictures are read differently: vectors of the old way are then not reused."""


@dataclass(frozen=True, slots=True)
class OnnxPictures:
    """What ``lifeloop encoders build efficientnet`` wrote: a network and a manifest in one folder.

    Needs the extras ``[media]`` (Pillow) and ``[onnx]``.

    Raises
    ------
    InputError
        The folder is incomplete or of another making.
    """

    folder: Path
    threads: int = 1
    _held: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        missing = [n for n in (MANIFEST, MODEL) if not (self.folder / n).is_file()]
        if missing:
            raise InputError(
                f"the picture encoder's folder lacks {', '.join(missing)}",
                got=str(self.folder),
                hint="lifeloop encoders build efficientnet",
            )
        self._held["manifest"] = _manifest(self.folder)

    @property
    def manifest(self) -> dict[str, Any]:
        """What was exported from what, and how pictures are handed to it."""
        held: dict[str, Any] = self._held["manifest"]
        return held

    @property
    def id(self) -> str:
        """Name, digest of all files, and the way of reading pictures."""
        if "id" not in self._held:
            digest = folder_digest(self.folder)
            self._held["id"] = f"picture/{self.manifest['name']}/{digest}/{READS}"
        return str(self._held["id"])

    @property
    def d(self) -> int:
        """Width of the vectors."""
        return int(self.manifest["d"])

    def encode(self, files: Sequence[Path]) -> tuple[Float, tuple[str | None, ...]]:
        """Return unit vectors [n, d] and why a file has none [n]."""
        return each_file(files, self._read, self.run, d=self.d, batch=BATCH)

    def _read(self, path: Path) -> Pixels:
        return read_picture(path, resize=self.manifest["resize"], crop=self.manifest["crop"])

    def run(self, pictures: list[Pixels]) -> Float:
        """Return raw vectors [n, d] of squares of levels [crop, crop, 3]."""
        session = _session(self.folder, folder_digest(self.folder), self.threads)
        fed = scaled(pictures, self.manifest["mean"], self.manifest["std"])
        (made,) = session.run(None, {session.get_inputs()[0].name: fed})
        return np.asarray(made, dtype=np.float32)


def scaled(pictures: Sequence[Pixels], mean: Sequence[float], std: Sequence[float]) -> Float:
    """Return (levels − mean) / std as [n, 3, h, w]; mean and std in levels of 0 to 255."""
    middle, spread = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    levels = (np.stack(pictures).astype(np.float32) - middle) / spread  # [n, h, w, 3]
    return np.ascontiguousarray(levels.transpose(0, 3, 1, 2), dtype=np.float32)  # [n, 3, h, w]


def is_picture_folder(folder: Path) -> bool:
    """Return whether ``lifeloop encoders build`` wrote this folder for pictures."""
    return (folder / MANIFEST).is_file()


@functools.lru_cache(maxsize=2)
def _session(folder: Path, digest: str, threads: int) -> Any:
    try:
        return onnx_session(folder / MODEL, needed_for="the picture encoder", threads=threads)
    except MissingExtra:
        raise
    except Exception as error:  # onnxruntime raises its own kinds for damaged files
        raise _damaged(folder, error) from error


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
        if told["schema"] != SCHEMA:
            raise ValueError(f"schema {told['schema']}, {SCHEMA} expected")
        for key in ("name", "d", "resize", "crop", "mean", "std"):
            told[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from error
    return told


def _damaged(folder: Path, error: Exception) -> InputError:
    return InputError(
        f"the picture encoder could not be used ({type(error).__name__}: {str(error)[:200]})",
        got=str(folder),
        hint="build it again: lifeloop encoders build efficientnet",
    )
