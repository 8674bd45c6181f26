"""What every encoder does around its model: clean, mask, scale; and what a folder holds."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lifeloop.contracts import Bool, Float
from lifeloop.encoders.text import clean_text
from lifeloop.errors import InputError

_NOTHING_LEFT = 1e-9
_BLOCK = 1 << 20


def encode_readable(
    texts: Sequence[str],
    run: Callable[[list[str]], Float],
    *,
    d: int,
    max_chars: int,
    prefix: str = "",
) -> tuple[Float, Bool]:
    """Return unit vectors [n, d] and a mask [n] of what ``run`` makes of the texts with words.

    ``run`` is given cleaned texts with the prefix and returns raw vectors [m, d]. A row that is
    not finite, or zero, is masked: it says nothing.

    Raises
    ------
    InputError
        ``run`` returns another number of rows or another width.
    """
    cleaned = [clean_text(text, max_chars=max_chars) for text in texts]
    mask = np.array([bool(text) for text in cleaned], dtype=np.bool_)
    vectors = np.zeros((len(cleaned), d), dtype=np.float32)
    readable = [prefix + text for text in cleaned if text]
    if not readable:
        return vectors, mask
    raw = np.asarray(run(readable), dtype=np.float32)  # [m, d]
    if raw.shape != (len(readable), d):
        raise InputError(
            "the encoder returned vectors of the wrong shape",
            got=raw.shape,
            allowed=f"({len(readable)}, {d})",
        )
    norm = np.linalg.norm(raw.astype(np.float64), axis=1)
    good = np.isfinite(norm) & (norm > _NOTHING_LEFT)
    unit = np.zeros_like(raw)
    unit[good] = raw[good] / norm[good, None].astype(np.float32)
    vectors[mask] = unit
    mask[mask] = good
    return vectors, mask


def folder_digest(folder: Path) -> str:
    """Return 16 hex digits over the names and the whole content of every file in a folder.

    A cut weight file, another tokenizer or an edited setting makes another encoder. Hidden files
    and folders are left out. Files that did not change since are not read twice by one process.
    """
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )
    digest = hashlib.blake2b(digest_size=8)
    for path in files:
        state = path.stat()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{state.st_size}\0".encode())
        digest.update(_file_digest(path, state.st_size, state.st_mtime_ns))
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return 16 hex digits of the whole content of a file."""
    state = path.stat()
    return _file_digest(path, state.st_size, state.st_mtime_ns)[:8].hex()


@functools.lru_cache(maxsize=1024)
def _file_digest(path: Path, size: int, mtime_ns: int) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.digest()
