"""What encoders of files have in common, and a catalogue's files as vectors."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lifeloop.contracts import Bool, Float, Int, Progress, silent
from lifeloop.encoders.cache import BATCH, VectorCache
from lifeloop.encoders.media.place import located
from lifeloop.encoders.readable import file_digest
from lifeloop.errors import UnreadableFile

EXAMPLES = 3
"""Items named per reason."""
_NOTHING_LEFT = 1e-9


class FileEncoder(Protocol):
    """Picture or sound files to unit vectors."""

    @property
    def id(self) -> str:
        """Stable name over weights, settings and the way files are read; the cache's key."""
        ...

    @property
    def d(self) -> int:
        """Width of the vectors."""
        ...

    def encode(self, files: Sequence[Path]) -> tuple[Float, tuple[str | None, ...]]:
        """Return unit vectors [n, d] and why a file has none [n], None where it has one."""
        ...


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a catalogue as vectors, equal files sharing one row."""

    vectors: Float  # [c, d] unit rows
    rows: Int  # [I] row of each item, -1: none
    why: dict[str, tuple[int, tuple[str, ...]]]  # reason -> how many items, some of them
    named: int  # items that name a file


def encode_files(
    names: Sequence[str | None],
    encoder: FileEncoder,
    *,
    root: Path,
    cache: VectorCache | None = None,
    step: str = "encode files",
    progress: Progress = silent,
) -> Files:
    """Encode the file that each item names, each distinct content once.

    Parameters
    ----------
    names : sequence of str or None
        Relative to ``root`` [I]; None or blank where an item names no file.
    cache : VectorCache, optional
        Keyed by the encoder and the file's content, committed batch by batch: an interrupted run
        goes on where it stopped. What cannot be read is not kept, so that its reason is told
        each time, and a repaired file is read.
    """
    why: dict[int, str] = {}
    held: dict[str, Path | str] = {}
    key_of: dict[Path, bytes] = {}
    files: list[Path] = []
    item: list[int] = []
    for n, name in enumerate(names):
        if name is None or not name.strip():
            continue
        if name not in held:
            held[name] = _found(name, root, key_of)
        place = held[name]
        if isinstance(place, str):
            why[n] = place
        else:
            files.append(place)
            item.append(n)
    keys = [key_of[path] for path in files]
    told: dict[bytes, str] = {}

    def made(rows: Sequence[int]) -> tuple[Float, Bool]:
        vectors, reasons = encoder.encode([files[i] for i in rows])
        told.update({keys[i]: r for i, r in zip(rows, reasons, strict=True) if r is not None})
        return vectors, np.array([reason is None for reason in reasons], dtype=np.bool_)

    if cache is None:
        vectors, mask = _directly(encoder, keys, made, step=step, progress=progress)
    else:
        vectors, mask = cache.keep(encoder, keys, made, step=step, nothing=False, progress=progress)
    why |= {item[i]: told[keys[i]] for i in np.flatnonzero(~mask)}
    number: dict[bytes, int] = {}
    first: list[int] = []
    rows = np.full(len(names), -1, dtype=np.int32)
    for i in np.flatnonzero(mask):
        if keys[i] not in number:
            number[keys[i]] = len(first)
            first.append(int(i))
        rows[item[i]] = number[keys[i]]
    return Files(
        vectors[first], rows, _counted(why, names), len(item) + len(why) - int((~mask).sum())
    )


def each_file(
    files: Sequence[Path],
    read: Callable[[Path], Any],
    run: Callable[[list[Any]], Float],
    *,
    d: int,
    batch: int,
) -> tuple[Float, tuple[str | None, ...]]:
    """Return what ``encode`` of an encoder returns: files read one by one, run in batches.

    ``read`` returns what the network takes, or raises ``UnreadableFile``. A vector that is zero
    or not finite says nothing, which is a reason too.
    """
    vectors = np.zeros((len(files), d), dtype=np.float32)
    reasons: list[str | None] = [None] * len(files)
    with ThreadPoolExecutor(1) as reader:  # the next batch is decoded while this one is run
        starts = range(0, len(files), batch)
        ahead = [reader.submit(_read_all, files[:batch], read)] if files else []
        for start in starts:
            got = ahead.pop().result()
            if start + batch < len(files):
                more = files[start + batch : start + 2 * batch]
                ahead.append(reader.submit(_read_all, more, read))
            good = [i for i, one in enumerate(got) if not isinstance(one, str)]
            for i, one in enumerate(got):
                if isinstance(one, str):
                    reasons[start + i] = one
            if not good:
                continue
            raw = np.asarray(run([got[i] for i in good]), dtype=np.float64)  # [m, d]
            norm = np.linalg.norm(raw, axis=1)
            for i, row, length in zip(good, raw, norm, strict=True):
                if np.isfinite(length) and length > _NOTHING_LEFT:
                    vectors[start + i] = row / length
                else:
                    reasons[start + i] = "the encoder finds nothing in it"
    return vectors, tuple(reasons)


def notes_on(what: str, made: Files) -> tuple[str, ...]:
    """Return one sentence per reason for which items have no vector."""
    return tuple(
        f"{count:,} of {made.named:,} items that name a {what} have none that can be used: "
        f"{reason} ({', '.join(some)}{', …' if count > len(some) else ''})"
        for reason, (count, some) in sorted(made.why.items(), key=lambda kv: -kv[1][0])
    )


def _found(name: str, root: Path, key_of: dict[Path, bytes]) -> Path | str:
    try:
        path = located(name, root)
        if path not in key_of:
            key_of[path] = hashlib.blake2b(
                f"{path.stat().st_size}/{file_digest(path)}".encode(), digest_size=16
            ).digest()
    except UnreadableFile as error:
        return error.what
    except OSError:
        return "not readable"
    return path


def _read_all(files: Sequence[Path], read: Callable[[Path], Any]) -> list[Any]:
    got: list[Any] = []
    for path in files:
        try:
            got.append(read(path))
        except UnreadableFile as error:
            got.append(error.what)
    return got


def _directly(
    encoder: FileEncoder,
    keys: Sequence[bytes],
    made: Callable[[Sequence[int]], tuple[Float, Bool]],
    *,
    step: str,
    progress: Progress,
) -> tuple[Float, Bool]:
    fresh = {key: n for n, key in reversed(list(enumerate(keys)))}
    places = sorted(fresh.values())
    known: dict[bytes, tuple[Float, bool]] = {}
    progress(step, 0, len(places))
    for start in range(0, len(places), BATCH):
        rows = places[start : start + BATCH]
        vectors, mask = made(rows)
        known |= {keys[i]: (vectors[n], bool(mask[n])) for n, i in enumerate(rows)}
        progress(step, start + len(rows), len(places))
    vectors = np.zeros((len(keys), encoder.d), dtype=np.float32)
    for n, key in enumerate(keys):
        vectors[n] = known[key][0]
    return vectors, np.array([known[key][1] for key in keys], dtype=np.bool_)


def _counted(
    why: dict[int, str], names: Sequence[str | None]
) -> dict[str, tuple[int, tuple[str, ...]]]:
    count = Counter(why.values())
    some: dict[str, list[str]] = {}
    for n, reason in sorted(why.items()):
        shown = some.setdefault(reason, [])
        if len(shown) < EXAMPLES:
            shown.append((names[n] or "")[:60])
    return {reason: (count[reason], tuple(some[reason])) for reason in count}
