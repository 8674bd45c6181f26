"""Moving a whole store takes no more memory when it holds more rows, on both stores."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lifeloop.testing.postgres import own_schema, postgres_server

HELD = """
import json, re, sys, zipfile
from pathlib import Path
from lifeloop import Lifeloop
from lifeloop.store import sqlite, sqlite_connections
from lifeloop.transfer import export_all, import_all

# SQLite's cache may hold 128 MB of what is written, rows or not: here it holds 2 MB
connected = sqlite_connections.connected
small = lambda path, *, cache_kib: connected(path, cache_kib=2_048)
sqlite.connected = sqlite_connections.connected = small
folder, n, database = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
moved = folder / "all.zip"
with zipfile.ZipFile(moved, "w") as out, out.open("rows.jsonl", "w") as rows:
    for k in range(n):
        event = {"row": "event", "seq": k + 1, "event_id": f"e{k}", "user_id": f"u{k % 997}",
                 "type": "view", "item_id": f"i{k % 89}", "text": "x" * 300,
                 "t_us": 1_700_000_000_000_000 + k, "received_us": 1_800_000_000_000_000}
        rows.write(json.dumps(event).encode() + b"\\n")
kinds = ("user", "item", "event", "link", "decision", "refused")
with zipfile.ZipFile(moved, "a") as out:
    counts = {**dict.fromkeys(kinds, 0), "event": n}
    out.writestr("manifest.json", json.dumps({"format": 1, "rows": counts}))
place = folder / "shop" if database == "file" else database
with Lifeloop.open(place, scenario="ecommerce") as loop:
    told = import_all(loop.store, moved, scenario=loop.scenario, clock=loop.clock)["event"]
    assert (told.accepted, told.rejected) == (n, 0), told
    assert export_all(loop.store, folder / "again.zip")["rows"]["event"] == n
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]))
"""
FEW, MANY = 12_000, 48_000


def peak_kb(folder: Path, n: int, database: str) -> int:
    folder.mkdir()
    env = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", HELD, str(folder), str(n), database],
        capture_output=True, text=True, check=False, env=env,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    return int(run.stdout)


def bounded(folder: Path, few: str, many: str) -> None:
    small, large = peak_kb(folder / "few", FEW, few), peak_kb(folder / "many", MANY, many)
    # 36,000 more rows of 450 bytes: as Python objects they would be some 60 MB
    assert large - small < 24 << 10, f"{(large - small) >> 10} MB more for {MANY - FEW:,} rows"


def test_a_store_of_four_times_the_rows_moves_in_the_same_memory(tmp_path: Path) -> None:
    bounded(tmp_path, "file", "file")


@pytest.fixture
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.mark.extras
def test_so_does_one_in_postgresql(tmp_path: Path, server: str) -> None:
    with own_schema(server) as few, own_schema(server) as many:
        bounded(tmp_path, few, many)
