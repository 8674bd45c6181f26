"""What encoders of files are worth: ``python -m benchmarks.media [pictures] [sounds] [speed]``.

- pictures: 400 photographs of clothes in 10 classes (40 each): share of the nearest, and of the
  five nearest, that are of the same class (chance .098). Target: .60 of five.
- sounds: 300 recordings, 6 people saying 10 digits 5 times: share of the nearest that say the same
  digit (chance .097), are of the same person (.164), and, among recordings of other people only,
  say the same digit (.10).
- speed: pictures per second on one thread, ONNX against torch, decoding left out.

The data come from ``LIFELOOP_DATA`` (../shared/data). The network is built into ``.bench``.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.encoding import HOME
from lifeloop.encoders import VectorCache, centred, corpus_mean
from lifeloop.encoders.media import (
    FileEncoder,
    LogMel,
    OnnxPictures,
    encode_files,
    is_picture_folder,
)

DATA = Path(os.environ.get("LIFELOOP_DATA", "../shared/data"))


def efficientnet() -> OnnxPictures:
    """Return the exported network, built where it is not there."""
    from lifeloop.encoders.media.efficientnet import export_efficientnet

    into = HOME / "encoders" / "efficientnet"
    if not is_picture_folder(into):
        export_efficientnet(into)
    return OnnxPictures(into)


def same_class(own: Any, kind: Any, k: int) -> float:
    """Return the share of the k nearest (cosine) that are of the same class."""
    near = own @ own.T
    np.fill_diagonal(near, -2.0)
    top = np.argsort(-near, axis=1, kind="stable")[:, :k]
    return round(float((kind[top] == kind[:, None]).mean()), 4)


def neighbours(names: list[str], kinds: dict[str, Any], encoder: FileEncoder, root: Path) -> Any:
    """Return what neighbours share, with vectors as they are used: without the common part."""
    made = encode_files(names, encoder, root=root, cache=VectorCache(HOME / "vectors"))
    has = made.rows >= 0
    own = centred(made.vectors, corpus_mean(made.vectors))[made.rows[has]]
    told: dict[str, Any] = {"encoder": encoder.id, "files": len(names), "unread": made.why}
    for what, kind in kinds.items():
        mixed = np.random.default_rng(0).permutation(kind[has])
        told[what] = {
            "nearest_1": same_class(own, kind[has], 1),
            "nearest_5": same_class(own, kind[has], 5),
            "shuffled_5": same_class(own, mixed, 5),
        }
    return told


def pictures() -> dict[str, Any]:
    """Share of nearest pictures of the same class."""
    root = DATA / "clothing_images"
    names = sorted(str(p.relative_to(root)) for p in root.rglob("*.jpg"))
    kinds = {"class": np.array([name.split("/")[0] for name in names])}
    return {**neighbours(names, kinds, efficientnet(), root), "target_5": 0.60}


def sounds() -> dict[str, Any]:
    """Share of nearest recordings of the same digit, person, and digit among other people's."""
    root = DATA / "fsdd_audio"
    names = sorted(p.name for p in root.glob("*.wav"))
    who = np.array([n.split("_")[1] for n in names])
    what = np.array([n.split("_")[0] for n in names])
    told = neighbours(names, {"digit": what, "person": who}, LogMel(), root)
    made = encode_files(names, LogMel(), root=root, cache=VectorCache(HOME / "vectors"))
    own = centred(made.vectors, corpus_mean(made.vectors))[made.rows]
    near = np.where(who[:, None] == who[None, :], -2.0, own @ own.T)
    best = what[np.argmax(near, axis=1)]
    return {**told, "digit_of_another_person": round(float((best == what).mean()), 4)}


def speed() -> dict[str, Any]:
    """Pictures per second on one thread, best of three passes over 16 pictures."""
    import torch

    from lifeloop.encoders.media.efficientnet import LEVELS, original

    torch.set_num_threads(1)
    exported, (network, _) = efficientnet(), original()
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 256, (16, 224, 224, 3), dtype=np.uint8)
    fed = ((shown.astype(np.float32) - LEVELS[0]) / LEVELS[1]).transpose(0, 3, 1, 2)
    told = {"torch": 0.0, "onnx": 0.0}
    for _ in range(3):
        begun = time.perf_counter()
        with torch.inference_mode():
            network(torch.from_numpy(np.ascontiguousarray(fed)))
        told["torch"] = max(told["torch"], len(shown) / (time.perf_counter() - begun))
        begun = time.perf_counter()
        exported.run(list(shown))
        told["onnx"] = max(told["onnx"], len(shown) / (time.perf_counter() - begun))
    return {k: round(v, 1) for k, v in told.items()} | {
        "times_torch": round(told["onnx"] / told["torch"], 2)
    }


PARTS = {"pictures": pictures, "sounds": sounds, "speed": speed}


def main() -> None:
    """Print one JSON object per part asked for."""
    for part in sys.argv[1:] or list(PARTS):
        print(json.dumps({part: PARTS[part]()}, ensure_ascii=False, indent=1), flush=True)


if __name__ == "__main__":
    main()
