"""A sound file as blocks of one channel, in bounded memory, however long it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lifeloop.contracts import Float
from lifeloop.errors import MissingExtra, UnreadableFile

LONGEST_S = 600.0
"""Of a longer sound, excerpts that add up to this are heard, spread evenly over it."""
EXCERPT_S = 30.0
BLOCK_S = 5.0
SHORTEST_S = 0.1
SILENT = 3e-4
"""Largest deflection (full scale: 1) of silence: about -70 dB."""
LEAST_HZ = 7600
"""Sample rates below do not hold the bands of speech."""


def blocks(path: Path) -> Iterator[tuple[int, Float]]:
    """Yield (sample rate, samples [n] of one channel, full scale 1), at most 5 s at a time.

    Channels are averaged. What libsndfile reads is read: WAV of 8 to 32 bits and float, FLAC, OGG,
    MP3, AIFF and more, told by the content. A file whose header states more than it holds is read
    as far as it goes.

    Raises
    ------
    MissingExtra
        soundfile is not installed (extra ``[media]``).
    UnreadableFile
        With the reason in ``what``: no sound, damaged, too short, of too low a sample rate,
        silent, or with values that are not numbers.
    """
    loudest = 0.0
    with _opened(path) as file:
        rate = int(file.samplerate)
        if rate < LEAST_HZ:
            raise UnreadableFile("a sample rate under 7,600 Hz", got=f"{path.name}: {rate}")
        if file.frames < SHORTEST_S * rate:
            raise UnreadableFile("a sound under a tenth of a second", got=path.name)
        for start, length in _excerpts(int(file.frames), rate):
            file.seek(start)
            left = length
            while left > 0:
                held = file.read(min(left, int(BLOCK_S * rate)), dtype="float32", always_2d=True)
                if not len(held):
                    break
                left -= len(held)
                samples = held.mean(axis=1, dtype=np.float64)  # [n]
                if not np.isfinite(samples).all():
                    raise UnreadableFile("a sound with values that are not numbers", got=path.name)
                samples -= samples.mean()
                loudest = max(loudest, float(np.abs(samples).max()))
                yield rate, samples.astype(np.float32)
    if loudest < SILENT:
        raise UnreadableFile("silence", got=path.name)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the library that it wraps is not there
        raise MissingExtra("reading sounds", "media") from None
    try:
        with path.open("rb") as raw:
            try:
                file = soundfile.SoundFile(raw)
            except Exception as error:  # LibsndfileError, and TypeError of headerless formats
                raise UnreadableFile(
                    "not a sound that can be read", got=f"{path.name}: {error}"
                ) from error
            with file:
                yield file
    except UnreadableFile:
        raise
    except (RuntimeError, OSError, ValueError, AssertionError) as error:  # found while reading
        raise UnreadableFile("a damaged sound", got=f"{path.name}: {error}") from error


def _excerpts(frames: int, rate: int) -> list[tuple[int, int]]:
    """Return (start, length) in frames of what is heard of a sound."""
    if frames <= LONGEST_S * rate:
        return [(0, frames)]
    n, length = int(LONGEST_S / EXCERPT_S), int(EXCERPT_S * rate)
    starts = np.linspace(0, frames - length, n).astype(np.int64)
    return [(int(start), length) for start in starts]
