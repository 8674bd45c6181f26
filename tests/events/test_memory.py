import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

READ = """
import resource, sys
from lifeloop.events import ReadOptions, read
path, n = sys.argv[1], 0
batches = read(path, "event", options=ReadOptions(default_type="view"))
n += next(batches).frame.height
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
n += sum(batch.frame.height for batch in batches)
print(n, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
MB = 120
ROWS = "".join(f"user{i},item{i % 977},{1_511_544_070 + i},{'x' * 300}\n" for i in range(3_200))
BLOCKS = (MB << 20) // len(ROWS)
HEAD = "user_id,item_id,timestamp,comment\n"


def write(path: Path) -> None:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as file:
        file.write(HEAD)
        for _ in range(BLOCKS):
            file.write(ROWS)


@pytest.mark.parametrize("name", ["big.csv", "big.csv.gz"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(path)
    env = {**os.environ, "POLARS_MAX_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True, env=env
    )
    n, before, after = map(int, run.stdout.split())
    assert n == 3_200 * BLOCKS
    assert after - before < 64 << 10, f"{(after - before) >> 10} MB more for {MB} MB of file"


SEEN = """
import numpy as np
from lifeloop.events import SeenRows
def resident():
    return sum(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS"))
rng, most = np.random.default_rng(0), 0
with SeenRows() as seen:
    for batch in range(120):
        keys = rng.integers(0, 2**63, 50_000).astype(np.uint64)
        seen.count(keys)
        seen.add(keys)
        if batch == 59:  # three million keys are known, and the longest run lies in a file
            before = resident()
        if batch > 59:
            most = max(most, resident())
    assert seen.count(keys).sum() == 50_000
print(before, most)
"""


def test_rows_that_were_seen_stay_on_disk() -> None:
    run = subprocess.run(
        [sys.executable, "-c", SEEN], capture_output=True, text=True, check=True, timeout=120
    )
    before, most = map(int, run.stdout.split())
    assert most - before < 30 << 10, "6 million keys are 48 MB, which memory need not hold"


def test_a_report_of_a_file_does_not_hold_an_id_per_row(tmp_path: Path) -> None:
    from lifeloop import Lifeloop

    path = tmp_path / "e.csv"
    path.write_text("user_id,type\n" + "ada,view\n" * 5_000, encoding="utf-8")
    with Lifeloop.open(tmp_path / "shop", scenario="ecommerce") as loop:
        report = loop.import_events(path)
        assert report.accepted == 5_000
        assert not report.event_ids
        assert not report.outcomes
        assert len(loop.record({"user_id": "ada", "type": "view"}).event_ids) == 1
