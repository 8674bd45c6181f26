"""A CSV of any size in bounded memory: ``python -m benchmarks.big_file --gb 5 --row-bytes 100``.

Writes a file of that size (rows differ in user, item, time, text), imports it in a process of its
own (``--read-only``: reads and parses it without a store), and prints the peak resident memory of
that process. With ``--limit-mb`` it fails above it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORT = """
import json, resource, sys, time
from pathlib import Path
path, folder, read_only = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "1"
started = time.perf_counter()
if read_only:
    from lifeloop.events import read
    n = sum(batch.frame.height for batch in read(path, "event"))
else:
    from lifeloop import Lifeloop
    with Lifeloop.open(folder, scenario="ecommerce") as loop:
        n = loop.import_events(path).accepted
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
seconds = round(time.perf_counter() - started)
print(json.dumps({"rows": n, "peak_mb": round(peak), "seconds": seconds}))
"""
BLOCK = 20_000


def write(path: Path, *, n_bytes: int, row_bytes: int) -> int:
    """Write rows of about ``row_bytes`` until the file has ``n_bytes``; return how many."""
    rows = at = 0
    filler = "x" * max(0, row_bytes - 48)
    with path.open("w", encoding="ascii") as file:
        file.write("user_id,type,item_id,timestamp,value,note\n")
        while at < n_bytes:
            block = "".join(
                f"u{i % 1_000_003},view,i{i % 77_777},{1_500_000_000 + i},{i % 97}.5,{i}{filler}\n"
                for i in range(rows, rows + BLOCK)
            )
            at += file.write(block)
            rows += BLOCK
    return rows


def main() -> None:
    """Write, import, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=1.0)
    parser.add_argument("--row-bytes", type=int, default=100)
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--limit-mb", type=int, default=500)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "big.csv"
        rows = write(path, n_bytes=int(given.gb * 1e9), row_bytes=given.row_bytes)
        wrote = time.perf_counter()
        run = subprocess.run(
            [sys.executable, "-c", IMPORT, str(path), f"{work}/shop", str(int(given.read_only))],
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(run.stdout)
        found |= {
            "gb": round(path.stat().st_size / 1e9, 2),
            "row_bytes": given.row_bytes,
            "store": "none" if given.read_only else "sqlite",
            "wall_s": round(time.perf_counter() - wrote),
        }
    print(json.dumps(found))
    if found["rows"] != rows:
        raise SystemExit(f"{rows} rows were written, {found['rows']} came back")
    if found["peak_mb"] > given.limit_mb:
        raise SystemExit(f"peak memory {found['peak_mb']} MB is over {given.limit_mb} MB")


if __name__ == "__main__":
    main()
