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
