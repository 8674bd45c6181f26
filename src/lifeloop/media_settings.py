"""Which fields of an item name pictures and sounds, and what reads them."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lifeloop.text_settings import is_path

PICTURE_ENCODERS = ("auto", "none", "efficientnet")
SOUND_ENCODERS = ("auto", "none", "logmel")
"""Encoders that need no path."""


class MediaEncoding(BaseModel):
    """Pictures and sounds of items (docs/media.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str = Field(
        "media", min_length=1, description="folder (in the project) below which files are found"
    )
    pictures: tuple[str, ...] = Field(
        ("image",),
        description="fields or attributes of an item that name its picture; the first that is "
        "there counts",
    )
    sounds: tuple[str, ...] = Field(("audio",), description="the same for its sound")
    picture_encoder: str = Field(
        "auto",
        description="auto (efficientnet where the project has built it), efficientnet, none, or a "
        "folder of a vision model (./clip)",
    )
    sound_encoder: str = Field(
        "auto",
        description="auto (logmel where soundfile is installed), logmel, none, or a folder of an "
        "audio model (./wav2vec2)",
    )

    @field_validator("picture_encoder")
    @classmethod
    def _of_pictures(cls, name: str) -> str:
        return _checked(name, PICTURE_ENCODERS)

    @field_validator("sound_encoder")
    @classmethod
    def _of_sounds(cls, name: str) -> str:
        return _checked(name, SOUND_ENCODERS)


def _checked(name: str, known: tuple[str, ...]) -> str:
    if name in known or is_path(name):
        return name
    raise ValueError(f"{name!r} is no encoder. Allowed: {', '.join(known)}, or a folder (./model)")


__all__ = ["PICTURE_ENCODERS", "SOUND_ENCODERS", "MediaEncoding"]
