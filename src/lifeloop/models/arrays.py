"""Small facts as arrays, so that a model's whole state is arrays and nothing is pickled."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeloop.errors import BundleError


def text(value: str) -> NDArray[np.uint8]:
    """Return a string as its UTF-8 bytes."""
    return np.frombuffer(value.encode(), dtype=np.uint8).copy()


def read_text(arrays: Mapping[str, NDArray[Any]], key: str) -> str:
    """Return the string kept under ``key``."""
    return bytes(needed(arrays, key).astype(np.uint8)).decode()


def number(value: float | None) -> NDArray[np.float64]:
    """Return a number as an array of one; None is NaN."""
    return np.array([np.nan if value is None else value], dtype=np.float64)


def read_number(arrays: Mapping[str, NDArray[Any]], key: str) -> float:
    """Return the number kept under ``key``."""
    return float(needed(arrays, key)[0])


def read_optional(arrays: Mapping[str, NDArray[Any]], key: str) -> float | None:
    """Return the number kept under ``key``, None where there is none."""
    value = read_number(arrays, key)
    return None if np.isnan(value) else value


def needed(arrays: Mapping[str, NDArray[Any]], key: str) -> NDArray[Any]:
    """Return the array ``key`` or say that the bundle is damaged."""
    if key not in arrays:
        raise BundleError(
            f"a part of the bundle lacks the array {key!r}",
            got=sorted(arrays),
            hint="train again, or activate another bundle",
        )
    return arrays[key]
