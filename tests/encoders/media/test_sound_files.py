"""Sounds as they come: silent, broken, of any depth, and hours long."""

import math
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifeloop.encoders import VectorCache
from lifeloop.encoders.media import AudioFolder, LogMel, encode_files
from lifeloop.encoders.media.logmel import BANDS, mel_power, statistics, statistics_of
from lifeloop.encoders.media.sound import blocks
from lifeloop.errors import InputError, UnreadableFile

pytestmark = pytest.mark.extras

soundfile = pytest.importorskip("soundfile")


def tune(rate: int = 16_000, seconds: float = 1.5, *, start_hz: float = 300.0) -> Any:
    """A tone that rises and swells, over a little noise of fixed seed."""
    t = np.arange(round(rate * seconds)) / rate
    rng = np.random.default_rng(0)
    tone = np.sin(2 * np.pi * (start_hz + 400 * t / seconds) * t) * (0.2 + 0.5 * t / seconds)
    return tone + 0.003 * rng.standard_normal(len(t))


def cosine(a: Any, b: Any) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize(
    ("suffix", "subtype", "least"),
    [
        ("wav", "PCM_U8", 0.97), ("wav", "PCM_24", 0.9999), ("wav", "PCM_32", 0.9999),
        ("wav", "FLOAT", 0.9999), ("wav", "ULAW", 0.97), ("flac", "PCM_24", 0.9999),
        ("ogg", "VORBIS", 0.97),
    ],
)  # fmt: skip
def test_every_depth_and_container_sounds_the_same(
    suffix: str, subtype: str, least: float, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", tune(), 16_000, subtype="PCM_16")
    soundfile.write(tmp_path / f"b.{suffix}", tune(), 16_000, subtype=subtype)
    assert (
        cosine(statistics_of(tmp_path / "a.wav"), statistics_of(tmp_path / f"b.{suffix}")) > least
    )


def test_loudness_channels_and_sample_rate_hardly_matter_but_the_tune_does(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tune(), 16_000)
    soundfile.write(tmp_path / "quiet.wav", 0.1 * tune(), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "stereo.wav", np.stack([tune()] * 2, axis=1), 16_000)
    soundfile.write(tmp_path / "rate.wav", tune(44_100), 44_100)
    soundfile.write(tmp_path / "other.wav", tune(start_hz=1500.0), 16_000)
    held = {p.stem: statistics_of(p) for p in tmp_path.glob("*.wav")}
    assert cosine(held["a"], held["quiet"]) > 0.9999
    assert cosine(held["a"], held["stereo"]) > 0.9999
    assert cosine(held["a"], held["rate"]) > 0.95
    assert cosine(held["a"], held["other"]) < 0.8


def test_a_pure_tone_is_loudest_in_its_own_band() -> None:
    corners = np.linspace(
        2595 * math.log10(1 + 50 / 700), 2595 * math.log10(1 + 3800 / 700), BANDS + 2
    )
    for band in (3, 15, 30):
        hz = 700 * (10 ** (corners[band + 1] / 2595) - 1)
        tone = np.sin(2 * np.pi * hz * np.arange(16_000) / 16_000).astype(np.float32)
        power = mel_power(tone, 16_000)
        assert power.shape == (1 + (16_000 - 512) // 160, BANDS)
        assert int(power.mean(0).argmax()) == band


def test_statistics_are_those_of_the_formula() -> None:
    power = np.full((8, BANDS), 1e-12)
    power[:4, 0], power[4:, 0] = 1.0, 0.1  # 0 dB, then -10 dB; all else at the floor of -60
    middle = (4 * 0 + 4 * -10 + 8 * (BANDS - 1) * -60) / (8 * BANDS)
    made = statistics(power)
    np.testing.assert_allclose(made[0], -5 - middle)
    np.testing.assert_allclose(made[BANDS], 5.0)
    np.testing.assert_allclose(made[2 * BANDS], 10 / 7)
    np.testing.assert_allclose(made[3 * BANDS :: BANDS], [5, 5, -5, -5])


def garbage(path: Path) -> None:
    path.write_bytes(b"RIFF" + bytes(range(256)) * 20)


def no_rate(path: Path) -> None:
    soundfile.write(path, tune(), 16_000)
    raw = bytearray(path.read_bytes())
    raw[24:28] = struct.pack("<I", 0)
    path.write_bytes(bytes(raw))


def headless(path: Path) -> None:
    path.write_bytes((0.5 * tune() * 32767).astype("<i2").tobytes())


def silent(path: Path) -> None:
    soundfile.write(path, np.zeros(16_000), 16_000)


def offset(path: Path) -> None:
    soundfile.write(path, np.full(16_000, 0.4), 16_000)


def low(path: Path) -> None:
    soundfile.write(path, tune(4000), 4000)


def click(path: Path) -> None:
    soundfile.write(path, tune()[:200], 16_000)


def holes(path: Path) -> None:
    samples = tune()
    samples[100] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


def no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0), 16_000)


def executable(path: Path) -> None:
    path.write_bytes(b"MZ\x90\x00" + bytes(range(256)) * 10)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (garbage, "not a sound that can be read"), (no_rate, "not a sound that can be read"),
        (headless, "not a sound that can be read"), (executable, "not a sound that can be read"),
        (silent, "silence"), (offset, "silence"), (low, "a sample rate under 7,600 Hz"),
        (click, "a sound under a tenth of a second"),
        (no_samples, "a sound under a tenth of a second"),
        (holes, "a sound with values that are not numbers"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_its_reason(
    how: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "item.wav"
    how(path)
    with pytest.raises(UnreadableFile) as refused:
        statistics_of(path)
    assert refused.value.what == reason


def test_a_header_that_promises_more_than_there_is_is_read_as_far_as_it_goes(
    tmp_path: Path,
) -> None:
    soundfile.write(tmp_path / "whole.wav", tune(), 16_000)
    raw = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(raw[: 44 + 2 * 16_000])  # 1 of 1.5 seconds
    streamed = raw[:40] + b"\xff\xff\xff\xff" + raw[44:]  # as written to a pipe
    (tmp_path / "streamed.wav").write_bytes(streamed)
    assert sum(len(held) for _, held in blocks(tmp_path / "cut.wav")) == 16_000
    np.testing.assert_allclose(
        statistics_of(tmp_path / "streamed.wav"), statistics_of(tmp_path / "whole.wav")
    )


LONG = """
import resource, sys, time
from pathlib import Path
from lifeloop.encoders.media.logmel import statistics_of
import soundfile
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made = statistics_of(Path(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, len(made))
"""


def test_two_hours_are_heard_in_excerpts_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    minute = tune(8000, 60.0)
    with soundfile.SoundFile(path, "w", samplerate=8000, channels=1, subtype="PCM_16") as file:
        for _ in range(120):
            file.write(minute)
    heard = sum(len(held) for _, held in blocks(path))
    assert heard == 600 * 8000
    ran = subprocess.run(
        [sys.executable, "-c", LONG, str(path)], capture_output=True, text=True, check=True
    )
    grew_kib, d = ran.stdout.split()
    assert int(d) == LogMel().d
    assert int(grew_kib) < 100 * 1024  # whole, as float64, it would take 440 MiB


def test_sounds_of_a_catalogue_have_their_reasons_too(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tune(), 16_000)
    silent(tmp_path / "b.wav")
    made = encode_files(
        ["a.wav", "b.wav", None], LogMel(), root=tmp_path, cache=VectorCache(tmp_path / "cache")
    )
    assert made.rows.tolist() == [0, -1, -1]
    assert made.why == {"silence": (1, ("b.wav",))}


def wav2vec(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_stride=(5, 4), conv_kernel=(10, 8), num_feat_extract_layers=2,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)


def whisper(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=64, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)


@pytest.mark.parametrize("build", [wav2vec, whisper])
def test_a_model_folder_gives_one_unit_vector_per_sound(
    build: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    build(folder)
    soundfile.write(tmp_path / "a.wav", tune(44_100), 44_100)
    soundfile.write(tmp_path / "b.wav", tune(8000, 5.05, start_hz=900.0), 8000)
    silent(tmp_path / "c.wav")
    encoder = AudioFolder(folder)
    vectors, reasons = encoder.encode([tmp_path / f"{n}.wav" for n in "abc"])
    assert (encoder.d, reasons) == (16, (None, None, "silence"))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0], atol=1e-5)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)


def test_an_incomplete_audio_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    wav2vec(folder)
    soundfile.write(tmp_path / "a.wav", tune(), 16_000)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InputError, match="could not be loaded"):
        AudioFolder(folder).encode([tmp_path / "a.wav"])
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match="lacks preprocessor_config"):
        AudioFolder(folder)


def test_the_nearest_recording_says_the_same_digit_or_is_of_the_same_person(
    shared_data: Callable[[str], Path],
) -> None:
    root = shared_data("fsdd_audio")
    names = sorted(p.name for p in root.glob("*.wav"))
    made = encode_files(names, LogMel(), root=root)
    assert (made.rows >= 0).all()
    rows = made.vectors - made.vectors.mean(0)
    near = rows @ rows.T / np.outer(*(2 * [np.linalg.norm(rows, axis=1)]))
    np.fill_diagonal(near, -9)
    best = near.argmax(1)
    for part, least in ((0, 0.8), (1, 0.8)):  # chance: .10 and .16
        told = np.array([name.split("_")[part] for name in names])
        assert (told[best] == told).mean() > least
