"""A picture or sound encoder by its name in the settings."""

import importlib.util
from pathlib import Path

from lifeloop.encoders.media.audio import AudioFolder
from lifeloop.encoders.media.efficientnet import NAME
from lifeloop.encoders.media.files import FileEncoder
from lifeloop.encoders.media.logmel import LogMel
from lifeloop.encoders.media.onnx_picture import OnnxPictures, is_picture_folder
from lifeloop.encoders.media.vision import VisionFolder
from lifeloop.encoders.opening import BUILT, located
from lifeloop.errors import InputError


def open_pictures(name: str, *, home: Path) -> tuple[FileEncoder | None, str]:
    """Return the encoder of pictures, or None and why there is none.

    Raises
    ------
    InputError
        An encoder that was asked for by name is not there or is incomplete.
    """
    if name == "none":
        return None, ""
    built = home / BUILT / NAME
    if name == "auto":
        if not is_picture_folder(built):
            return None, "no picture encoder is built (lifeloop encoders build efficientnet)"
        lacking = [m for m in ("PIL", "onnxruntime") if importlib.util.find_spec(m) is None]
        if lacking:
            return None, "pictures cannot be read (pip install 'lifeloop[media,onnx]')"
        return OnnxPictures(built), ""
    if name == NAME:
        return OnnxPictures(built), ""
    folder = _folder(name, home)
    return (OnnxPictures(folder) if is_picture_folder(folder) else VisionFolder(folder)), ""


def open_sounds(name: str, *, home: Path) -> tuple[FileEncoder | None, str]:
    """Return the encoder of sounds, or None and why there is none; raises as above."""
    if name == "none":
        return None, ""
    if name == "auto" and importlib.util.find_spec("soundfile") is None:
        return None, "sounds cannot be read (pip install 'lifeloop[media]')"
    if name in ("auto", "logmel"):
        return LogMel(), ""
    return AudioFolder(_folder(name, home)), ""


def _folder(name: str, home: Path) -> Path:
    folder = located(name, home)
    if not folder.is_dir():
        raise InputError("there is no such model folder", got=str(folder))
    return folder
