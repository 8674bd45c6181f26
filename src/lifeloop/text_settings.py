"""Which model reads text, and how it is asked: a name that is checked, and one settings section."""

import difflib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Pooling = Literal["auto", "mean", "cls", "max", "last"]

BUILT_IN = ("auto", "tfidf", "e5", "minilm", "hash", "none")
"""Encoders that need no path."""
WORD_FILES = (".vec", ".vec.gz", ".glove", ".glove.gz", ".txt", ".txt.gz", ".bin", ".bin.gz")
"""Endings of word-vector files."""
ALLOWED = (
    f"{', '.join(BUILT_IN)}, a model folder (./my-bert), st:NAME, hf:NAME, https://…/v1, "
    "or a file of word vectors (words.vec)"
)


class TextEncoding(BaseModel):
    """How texts are handed to the encoder that ``models.text_encoder`` names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pooling: Pooling = Field(
        "auto",
        description="tokens to one vector: auto (what the model says of itself, else mean), mean, "
        "cls, max or last",
    )
    item_prefix: str = Field("", description="put before texts of items ('passage: ')")
    query_prefix: str = Field("", description="put before what a person wrote ('query: ')")
    max_chars: int = Field(1000, ge=1, description="texts are cut here")
    endpoint_model: str = Field(
        "text-embedding-3-small", min_length=1, description="model asked of an http endpoint"
    )
    endpoint_key_env: str = Field(
        "LIFELOOP_EMBEDDINGS_KEY", description="environment variable that holds the endpoint's key"
    )
    endpoint_per_minute: int = Field(600, ge=1, description="requests per minute at most")
    endpoint_timeout_s: float = Field(30.0, gt=0, description="seconds until a request is retried")
    endpoint_retries: int = Field(5, ge=0, description="tries after the first")
    written: int = Field(
        3, ge=0, description="newest texts of a person (searches, reviews) read at a request"
    )
    written_half_life_days: float = Field(
        30.0, gt=0, description="age at which what a person wrote counts half"
    )
    preferences: tuple[str, ...] = Field(
        ("interests", "preferences", "favourite_categories"),
        description="attributes of a user that state what they like",
    )


def checked_name(name: str) -> str:
    """Return the name of a text encoder as it was given.

    Nothing is looked up on the disk: that happens when the encoder is opened.

    Raises
    ------
    ValueError
        It is none of ``ALLOWED``; the message holds the nearest built-in name.
    """
    if name in BUILT_IN or is_endpoint(name) or is_word_file(name) or is_path(name):
        return name
    kind, _, rest = name.partition(":")
    if kind in ("st", "hf") and rest.strip():
        return name
    close = difflib.get_close_matches(name, BUILT_IN, n=1, cutoff=0.5)
    near = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{name!r} is no text encoder{near} Allowed: {ALLOWED}")


def is_endpoint(name: str) -> bool:
    """Return whether the name is an address of an embedding service."""
    return name.startswith(("http://", "https://")) and len(name.partition("://")[2]) > 0


def is_word_file(name: str) -> bool:
    """Return whether the name is a file of word vectors."""
    return not is_endpoint(name) and name.lower().endswith(WORD_FILES) and ":" not in name[:3]


def is_path(name: str) -> bool:
    """Return whether the name is a folder: it has a slash, or begins with a dot or a tilde."""
    return not name.startswith(("st:", "hf:", "http://", "https://")) and (
        "/" in name or "\\" in name or name.startswith((".", "~"))
    )


__all__ = [
    "ALLOWED",
    "BUILT_IN",
    "Pooling",
    "TextEncoding",
    "checked_name",
    "is_endpoint",
    "is_path",
    "is_word_file",
]
