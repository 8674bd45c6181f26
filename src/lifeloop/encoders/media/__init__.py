"""Pictures and sounds of items to vectors, each distinct file once."""

from lifeloop.encoders.media.audio import AudioFolder
from lifeloop.encoders.media.files import FileEncoder, Files, encode_files, notes_on
from lifeloop.encoders.media.logmel import LogMel
from lifeloop.encoders.media.onnx_picture import OnnxPictures, is_picture_folder
from lifeloop.encoders.media.picture import read_picture
from lifeloop.encoders.media.vision import VisionFolder

__all__ = [
    "AudioFolder",
    "FileEncoder",
    "Files",
    "LogMel",
    "OnnxPictures",
    "VisionFolder",
    "encode_files",
    "is_picture_folder",
    "notes_on",
    "read_picture",
]
