"""Speed of the spine: import of plain purchase lines, and one recommendation in process.

``make bench`` or ``python -m benchmarks.spine [N_LINES]``. Prints JSON and keeps it in .bench/.
The floor beside the import is what Python's own csv and sqlite3 need for the same rows without
parsing, duplicates or indexes, in the same run: the ratio is steadier than the seconds.
"""

import csv
import json
import os
import platform
import resource
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from lifeloop import Lifeloop

SEED = 7
HEADER = ["user_id", "item_id", "type", "occurred_at", "order_id", "quantity", "value"]


def write_lines(path: Path, n_lines: int) -> None:
    rng = np.random.default_rng(SEED)
    users = rng.zipf(1.3, n_lines) % 20_000
    items = rng.zipf(1.2, n_lines) % 30_000
    days = np.sort(rng.integers(0, 365 * 86_400, n_lines))
    orders = np.cumsum(rng.random(n_lines) < 0.11)
    quantity = rng.integers(1, 5, n_lines)
    value = np.round(rng.gamma(2.0, 2.0, n_lines), 2)
    start = 1_483_228_800
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for u, i, s, o, q, v in zip(users, items, days, orders, quantity, value, strict=True):
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(start + int(s)))
            writer.writerow([f"u{u}", f"i{i}", "purchase", when, f"o{o}-{u}", q, v])


def floor(path: Path, folder: Path) -> float:
    started = time.perf_counter()
    con = sqlite3.connect(folder / "floor.db")
    con.execute(f"create table t ({', '.join(HEADER)})")
    with path.open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        con.executemany(f"insert into t values ({','.join('?' * len(HEADER))})", rows)
    con.commit()
    con.close()
    return time.perf_counter() - started


def bench_import(n_lines: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        path = folder / "lines.csv"
        write_lines(path, n_lines)
        floor_s = floor(path, folder)
        with Lifeloop.open(folder / "project", scenario="ecommerce") as loop:
            started = time.perf_counter()
            first = loop.import_events(path)
            first_s = time.perf_counter() - started
            started = time.perf_counter()
            again = loop.import_events(path)
            again_s = time.perf_counter() - started
        assert first.accepted == n_lines, first
        assert again.duplicate == n_lines, again
    return {
        "lines": n_lines,
        "import_events_per_s": round(n_lines / first_s),
        "reimport_events_per_s": round(n_lines / again_s),
        "csv_plus_sqlite3_rows_per_s": round(n_lines / floor_s),
        "times_the_floor": round(first_s / floor_s, 2),
        "target_events_per_s": 20_000,
    }


def bench_postgres(n_lines: int) -> dict[str, object]:
    """The same import into PostgreSQL: parsing, ids and duplicates included."""
    import pytest

    from lifeloop.testing.postgres import own_schema, postgres_server

    try:
        with postgres_server() as server, own_schema(server) as url:
            with tempfile.TemporaryDirectory() as work:
                path = Path(work) / "lines.csv"
                write_lines(path, n_lines)
                with Lifeloop.open(url, scenario="ecommerce") as loop:
                    started = time.perf_counter()
                    first = loop.import_events(path)
                    first_s = time.perf_counter() - started
                    started = time.perf_counter()
                    again = loop.import_events(path)
                    again_s = time.perf_counter() - started
            assert first.accepted == n_lines, first
            assert again.duplicate == n_lines, again
    except pytest.skip.Exception as absent:
        return {"postgres": f"not measured: {absent}"}
    return {
        "postgres_import_events_per_s": round(n_lines / first_s),
        "postgres_reimport_events_per_s": round(n_lines / again_s),
        "postgres_target_events_per_s": 30_000,
    }


def bench_recommend(n_requests: int = 300) -> dict[str, object]:
    from lifeloop.cli.demo import import_dataset, open_dataset
    from lifeloop.contracts import silent

    project = Path(".demo/completejourney")
    with tempfile.TemporaryDirectory() as work:
        if not (project / "lifeloop.toml").is_file():
            project = Path(work) / "project"
            found = open_dataset("completejourney", Path(work))
            with Lifeloop.open(project, scenario=found.scenario) as loop:
                import_dataset(loop, found, progress=silent)
                loop.train()
            scenario = found.scenario
            opened = Lifeloop.open(project, scenario=scenario)
        else:
            opened = Lifeloop.open(project)
        with opened as loop:
            users = loop.store.snapshot().events["user_id"].unique().sort().to_list()
            rng = np.random.default_rng(SEED)
            asked = [users[i] for i in rng.integers(0, len(users), n_requests + 20)]
            for user in asked[:20]:
                loop.recommend(user)
            spent = []
            for user in asked[20:]:
                started = time.perf_counter()
                loop.recommend(user)
                spent.append((time.perf_counter() - started) * 1e3)
    return {
        "requests": n_requests,
        "recommend_p50_ms": round(float(np.percentile(spent, 50)), 2),
        "recommend_p95_ms": round(float(np.percentile(spent, 95)), 2),
        "target_p50_ms": 10,
    }


def main() -> None:
    n_lines = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "seed": SEED,
        **bench_import(n_lines),
        **bench_postgres(min(n_lines, 300_000)),
        **bench_recommend(),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    Path(".bench").mkdir(exist_ok=True)
    Path(".bench/spine.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
