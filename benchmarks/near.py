"""The nearest of many vectors: the inverted file of the content part, beside reading all of them.

``python -m benchmarks.near [--items N] [--width D]`` prints JSON and keeps it in .bench/near.json.
Vectors lie around 2,000 centres, as those of titles do; what is asked is the mean of three of them.
Times are of the wall and of the processor: on a busy machine only the second says what it costs.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from lifeloop.models.retrieve import near

SEED, ASKED = 11, 200


def vectors(n: int, width: int, rng: np.random.Generator) -> Any:
    """Return unit vectors [n, width] around 2,000 centres."""
    centres = rng.standard_normal((2_000, width)).astype(np.float32)
    made = centres[rng.integers(0, 2_000, n)]
    made += np.float32(0.7) * rng.standard_normal((n, width), dtype=np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def timed(run: Callable[[Any], Any], asked: Any) -> dict[str, float]:
    """Return median and 99th percentile in ms, by the wall and by the processor."""
    wall, cpu = [], []
    for one in asked:
        started, used = time.perf_counter(), time.process_time()
        run(one)
        wall.append(1000 * (time.perf_counter() - started))
        cpu.append(1000 * (time.process_time() - used))
    return {
        "p50_ms": round(float(np.median(wall)), 2),
        "p99_ms": round(float(np.percentile(wall, 99)), 2),
        "p50_cpu_ms": round(float(np.median(cpu)), 2),
    }


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--items", type=int, default=1_000_000)
    asked.add_argument("--width", type=int, default=64)
    given = asked.parse_args()
    rng = np.random.default_rng(SEED)
    held = vectors(given.items, given.width, rng)
    started, used = time.perf_counter(), time.process_time()
    index = near.index(
        held, np.ones(given.items, np.int64), n_items=given.items, rng=np.random.default_rng(SEED)
    )
    built = {
        "s": round(time.perf_counter() - started, 1),
        "cpu_s": round(time.process_time() - used, 1),
    }
    profile = held[rng.integers(0, given.items, (ASKED, 3))].mean(axis=1)
    profile /= np.linalg.norm(profile, axis=1, keepdims=True)
    found = []
    for one in profile:
        exact = np.argpartition(-(held @ one), 99)[:100]
        found.append(len(np.intersect1d(exact, index.nearest(one, 100)[0])) / 100)
    told = {
        "seed": SEED,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": os.getloadavg()[0],
        "items": given.items,
        "width": given.width,
        "cells_read": [int(index.cells.nprobe), int(index.cells.nlist)],
        "built": built,
        "recall_at_100": round(float(np.mean(found)), 4),
        "recall_measured_when_built": round(index.recall, 4),
        "nearest_100": timed(lambda one: index.nearest(one, 100), profile),
        f"nearest_{near.NEAREST}": timed(index.nearest, profile),
        "all_read": timed(lambda one: np.einsum("cd,d->c", held, one), profile[:20]),
    }
    folder = Path(".bench")
    folder.mkdir(exist_ok=True)
    (folder / "near.json").write_text(json.dumps(told, indent=1))
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
