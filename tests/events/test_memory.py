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


@pytest.mark.parametrize("suffix", ["csv"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"big.{suffix}"
    rows = "".join(f"user{i},item{i % 977},{1_511_544_070 + i},{'x' * 300}\n" for i in range(3_200))
    blocks = (MB << 20) // len(rows)
    with path.open("w") as file:
        file.write("user_id,item_id,timestamp,comment\n")
        for _ in range(blocks):
            file.write(rows)
    env = {**os.environ, "POLARS_MAX_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True, env=env
    )
    n, before, after = map(int, run.stdout.split())
    assert n == 3_200 * blocks
    assert after - before < 64 << 10, f"{(after - before) >> 10} MB more for {MB} MB of file"
