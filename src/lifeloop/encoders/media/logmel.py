"""Sounds by the statistics of their mel spectrum: no network, no training.

With the power M[t, b] of mel band b in frame t (32 ms every 10 ms, 32 bands of 50 to 3,800 Hz),

    L[t, b] = max(10 log10(M[t, b] / max M), −60),    L ← L − mean L,

so that a louder copy is the same sound. The vector holds, per band, the mean and the deviation
of L over time, the mean size of its change from frame to frame, and its mean in each quarter of
the sound less its mean: timbre, liveliness, and the course of it. The mel scale is that of
O'Shaughnessy, m = 2595 log10(1 + f / 700) [oshaughnessy1987speech].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.fft import rfft

from lifeloop.contracts import Double, Float
from lifeloop.encoders.media.files import each_file
from lifeloop.encoders.media.sound import blocks
from lifeloop.errors import UnreadableFile

BANDS = 32
LOWEST_HZ, HIGHEST_HZ = 50.0, 3800.0
"""Every sound of 7.6 kHz and more holds these, so that sample rates can be compared."""
WINDOW_S, HOP_S = 0.032, 0.010
FLOOR_DB = -60.0
QUARTERS = 4
READS = 1
"""Raise when sounds are read differently: vectors of the old way are then not reused."""


@dataclass(frozen=True, slots=True)
class LogMel:
    """Statistics of the log-mel spectrum as unit vectors. Needs soundfile (``[media]``)."""

    @property
    def id(self) -> str:
        """Bands, range and the way of reading sounds."""
        return f"logmel/{BANDS}/{LOWEST_HZ:g}-{HIGHEST_HZ:g}/{QUARTERS}/{READS}"

    @property
    def d(self) -> int:
        """Width of the vectors."""
        return (3 + QUARTERS) * BANDS

    def encode(self, files: Sequence[Path]) -> tuple[Float, tuple[str | None, ...]]:
        """Return unit vectors [n, d] and why a file has none [n]."""
        return each_file(files, statistics_of, np.stack, d=self.d, batch=16)


def statistics_of(path: Path) -> Double:
    """Return the statistics [d] of one file, in dB.

    Raises
    ------
    UnreadableFile
        See ``blocks``.
    """
    power = [mel_power(samples, rate) for rate, samples in blocks(path)]
    frames = np.concatenate(power) if power else np.zeros((0, BANDS))
    if len(frames) < QUARTERS:
        raise UnreadableFile("a sound under a tenth of a second", got=path.name)
    return statistics(frames)


def mel_power(samples: Float, rate: int) -> Double:
    """Return the power in each mel band [t, BANDS] of samples [n] at a rate in Hz."""
    window, hop = round(WINDOW_S * rate), round(HOP_S * rate)
    n = 1 + (len(samples) - window) // hop
    if n < 1:
        return np.zeros((0, BANDS))
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop][:n]  # [t, w]
    spectrum = rfft(frames * np.hanning(window).astype(np.float32), axis=1)  # [t, w/2+1]
    power = (spectrum.real.astype(np.float64) ** 2 + spectrum.imag**2) / window
    return np.asarray(power @ _triangles(window, rate).T)


def statistics(power: Double) -> Double:
    """Return the statistics [(3 + QUARTERS) · BANDS] of mel powers [t, BANDS], t >= QUARTERS."""
    top = max(float(power.max()), 1e-20)
    level = np.maximum(10.0 * np.log10(np.maximum(power / top, 1e-20)), FLOOR_DB)
    level -= level.mean()
    mean = level.mean(axis=0)
    change = np.abs(np.diff(level, axis=0)).mean(axis=0)
    quarters = [part.mean(axis=0) - mean for part in np.array_split(level, QUARTERS)]
    return np.concatenate([mean, level.std(axis=0), change, *quarters])


def _triangles(window: int, rate: int) -> Double:
    """Return the weights [BANDS, w/2+1] of overlapping triangles on the mel scale."""
    low_mel, high_mel = 2595.0 * np.log10(1.0 + np.array([LOWEST_HZ, HIGHEST_HZ]) / 700.0)
    mel = np.linspace(float(low_mel), float(high_mel), BANDS + 2)
    corners = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)  # [BANDS+2]
    hz = np.arange(window // 2 + 1) * rate / window
    low, mid, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising, falling = (hz - low) / (mid - low), (high - hz) / (high - mid)
    return np.asarray(np.clip(np.minimum(rising, falling), 0.0, None))
