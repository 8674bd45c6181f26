"""Any audio model of ``transformers`` in a folder: wav2vec2, HuBERT, AST, Whisper, CLAP."""

import functools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lifeloop.contracts import Double, Float
from lifeloop.encoders.media.files import each_file
from lifeloop.encoders.media.sound import blocks
from lifeloop.encoders.readable import folder_digest
from lifeloop.encoders.transformer import load_body, read_json
from lifeloop.errors import InputError

READS = 1
"""Raise when sounds are read differently: vectors of the old way are then not reused."""
SHORTEST_S = 0.1


@dataclass(frozen=True, slots=True)
class AudioFolder:
    """One vector per sound from a model folder. Needs torch (``[train]``) and ``[media]``.

    A sound is heard in blocks of 5 s (a long one in excerpts, see ``blocks``), brought to the
    model's sample rate; the last hidden layer is averaged over time within a block, frames that
    only pad left out, and blocks are averaged by their length. CLAP: the sound's side of the space
    that sounds and texts share. Whisper: its encoder.

    Raises
    ------
    MissingExtra
        torch, transformers or soundfile is not installed.
    InputError
        The folder is not there, is incomplete, or states no sample rate.
    """

    folder: Path
    _held: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("config.json", "preprocessor_config.json"):
            if not (self.folder / name).is_file():
                raise InputError(
                    f"this folder holds no audio model of transformers: it lacks {name}",
                    got=str(self.folder),
                    allowed="a folder with config.json, weights and preprocessor_config.json",
                )
        told = read_json(self.folder / "preprocessor_config.json")
        rate = told.get("sampling_rate", 16_000)  # the library's own default
        if not isinstance(rate, int) or not 1000 <= rate <= 384_000:
            raise InputError(
                "the model folder states no sample rate", got=rate, allowed="1,000 to 384,000 Hz"
            )
        self._held["rate"] = rate

    @property
    def id(self) -> str:
        """Folder name, digest of all its files, and the way of reading sounds."""
        if "id" not in self._held:
            digest = folder_digest(self.folder)
            self._held["id"] = f"audio/{self.folder.name}/{digest}/{READS}"
        return str(self._held["id"])

    @property
    def d(self) -> int:
        """Width of the vectors, found by asking once."""
        with self._lock:
            if "d" not in self._held:
                rate = self._held["rate"]
                beep = np.sin(np.arange(rate) * (2 * np.pi * 440 / rate)).astype(np.float32)
                self._held["d"] = len(self._heard(beep))
        return int(self._held["d"])

    def encode(self, files: Sequence[Path]) -> tuple[Float, tuple[str | None, ...]]:
        """Return unit vectors [n, d] and why a file has none [n]."""
        return each_file(files, self._listen, np.stack, d=self.d, batch=1)

    def _listen(self, path: Path) -> Double:
        total, weight = np.zeros(self.d), 0
        for rate, samples in blocks(path):
            if weight and len(samples) < SHORTEST_S * rate:
                continue  # the very end of a sound is too little for most models
            total += len(samples) * self._heard(_at_rate(samples, rate, self._held["rate"]))
            weight += len(samples)
        return total / max(weight, 1)

    def _heard(self, samples: Float) -> Double:
        """Return the vector [d] of one block at the model's rate."""
        import torch

        model, reads = load_body(self.folder), _extractor(self.folder, folder_digest(self.folder))
        fed = reads(samples, sampling_rate=self._held["rate"], return_tensors="pt")
        with torch.inference_mode():
            if hasattr(model, "get_audio_features"):
                made = model.get_audio_features(**fed)
                made = getattr(made, "pooler_output", made)[0]  # [d]
            else:
                body = model.get_encoder() if model.config.is_encoder_decoder else model
                hidden = body(**fed).last_hidden_state[0]  # [t, d]
                padded = getattr(reads, "n_samples", None)  # Whisper: always 30 s
                if isinstance(padded, int):
                    kept = math.ceil(len(hidden) * len(samples) / padded)
                    hidden = hidden[: max(1, kept)]
                made = hidden.mean(0)  # [d]
        return np.asarray(made.double().numpy())


def _at_rate(samples: Float, rate: int, wanted: int) -> Float:
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    made = resample_poly(samples.astype(np.float64), wanted // common, rate // common)
    return np.asarray(made, dtype=np.float32)


@functools.lru_cache(maxsize=4)
def _extractor(folder: Path, digest: str) -> Any:
    import transformers

    try:
        reads: Any = transformers.AutoFeatureExtractor
        return reads.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # as varied as the models
        raise InputError(
            f"the model folder's preprocessor_config.json could not be used "
            f"({type(error).__name__}: {str(error)[:200]})",
            got=str(folder),
            hint="copy or download the whole folder again",
        ) from error
