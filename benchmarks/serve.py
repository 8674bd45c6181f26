"""The service under load, on PostgreSQL, from the same machine: ``make bench-serve``.

``python -m benchmarks.serve [prepare|load|soak|all] [--items N] [--users N] [--seconds S]``
makes a shop once (kept in .bench/ and in a schema of its own), serves it with ``lifeloop serve``,
and asks it with wrk over loopback. Prints JSON and keeps it in .bench/serve.json. Beside the
numbers stands what the ``recommend`` of the library implicit costs in the same run.
"""

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from lifeloop import Lifeloop, learn
from lifeloop.contracts import Long
from lifeloop.events.records import EVENT_SCHEMA, ITEM_SCHEMA
from lifeloop.models import Blend, Ranked, build
from lifeloop.models.registry import BLENDED
from lifeloop.serve import keys

SEED = 11
VARIABLE = "LIFELOOP_BENCH_POSTGRES"
SERVER = os.environ.get(VARIABLE, "postgresql://postgres@127.0.0.1:5432/test")
FOLDER = Path(".bench")
PORT = 8397
NOW_US = time.time_ns() // 1000
DAY_US = 86_400_000_000
CONNECTIONS = 24
ANSWERED_MS = 30  # taken off the pause, so that the rate comes out
ASKED_PER_S = 100


FOUR = ("recency_popularity", "content", "itemknn", "ease")
"""The retrievers of the row that the goal speaks of."""
PIPELINES = {"four": FOUR, "all": BLENDED}
MOST = 1500  # held-out queries that the trees learn from: enough for trees of the usual size
N_CATEGORIES = 200


def prepare(n_items: int, n_users: int) -> Path:
    """Make the shop: 5 events a user, 200 categories, titles of words; train both pipelines once.

    The trees are served whether or not they win on a made-up shop: this measures what they cost.
    """
    folder = FOLDER / f"serve-{n_items}-{n_users}"
    schema = f"lifeloop_bench_{n_items}_{n_users}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lifeloop.toml").write_text(
        'name = "bench"\nextends = "ecommerce"\n'
        f'url = "{SERVER}?schema={schema}"\n'
        '[models]\ntext_encoder = "tfidf"\n'
    )
    with Lifeloop.open(folder) as loop:
        if not (folder / "filled").exists():
            fill(loop, n_items, n_users)
            (folder / "filled").touch()
        for name, parts in PIPELINES.items():
            if not (folder / name).exists():
                (folder / name).write_text(trained(loop, parts))
    return folder


def fill(loop: Lifeloop, n_items: int, n_users: int) -> None:
    """Store the items and events."""
    rng = np.random.default_rng(SEED)
    category = rng.integers(0, N_CATEGORIES, n_items)
    with loop.store.bulk():
        loop.store.put_items(items(category, rng), received_us=NOW_US)
        for start in range(0, n_users, 20_000):
            part = events(start, min(20_000, n_users - start), category, rng)
            loop.store.append(part, received_us=NOW_US)


def trained(loop: Lifeloop, parts: tuple[str, ...]) -> str:
    """Train these retrievers and the trees above them; return the bundle."""
    settings = loop.scenario.models
    ranked = Ranked(Blend(parts=tuple(build(parts, settings))), most=MOST, margin=-1.0)
    with mock.patch.object(learn, "build", return_value=[ranked]):
        return str(loop.train()["bundle"])


def items(category: Long, rng: np.random.Generator) -> pl.DataFrame:
    n = len(category)
    words = np.array([f"w{i:04}" for i in range(4000)])
    own = rng.integers(0, 4000, (n, 3))
    titles = [
        " ".join([*words[(c * 20 + np.arange(3)) % 4000], *words[row]])
        for c, row in zip(category, own, strict=True)
    ]
    held: dict[str, Any] = {name: [None] * n for name in ITEM_SCHEMA}
    held["item_id"] = [f"i{i}" for i in range(n)]
    held["title"] = titles
    held["categories"] = [[f"c{c}"] for c in category]
    held["price"] = np.round(rng.gamma(2.0, 10.0, n), 2)
    return pl.DataFrame(held, schema=ITEM_SCHEMA)


def events(first: int, n_users: int, category: Long, rng: np.random.Generator) -> pl.DataFrame:
    """Five events a person: half of what is popular, half of one category of their own."""
    n, n_items = n_users * 5, len(category)
    popular = (n_items * rng.power(0.35, n)).astype(np.int64) % n_items
    by_category = np.argsort(category, kind="stable")
    start = np.searchsorted(category[by_category], np.arange(N_CATEGORIES + 1))
    liked = np.repeat(rng.integers(0, N_CATEGORIES, n_users), 5)
    near = start[liked] + (rng.power(0.35, n) * np.diff(start)[liked]).astype(np.int64)
    popular = np.where(rng.random(n) < 0.5, popular, by_category[near])
    kinds = np.array(["view", "view", "view", "cart", "purchase"])
    held: dict[str, Any] = {name: [None] * n for name in EVENT_SCHEMA}
    held["event_id"] = [f"e{first * 5 + i}" for i in range(n)]
    held["user_id"] = [f"u{first + i // 5}" for i in range(n)]
    held["item_id"] = [f"i{i}" for i in popular]
    held["type"] = kinds[np.arange(n) % 5]
    times = NOW_US - rng.integers(DAY_US // 24, 60 * DAY_US, n)
    held["occurred_us"] = times
    held["order_id"] = [f"o{first}-{i}" if i % 5 == 4 else None for i in range(n)]
    held["value"] = np.where(np.arange(n) % 5 == 4, 10.0, np.nan)
    frame = pl.DataFrame(held, schema=EVENT_SCHEMA).with_columns(pl.col("value").fill_nan(None))
    return frame.with_columns(pl.Series("t_us", times, dtype=pl.Int64))


@contextmanager
def served(folder: Path, *, workers: int, pipeline: str) -> Iterator[tuple[str, str, int]]:
    """Run ``lifeloop serve``; yield its address, a key, and its process id."""
    with Lifeloop.open(folder) as loop:
        loop.activate((folder / pipeline).read_text())
        key, text = keys.create(
            loop.store.kept, name="bench", roles=("admin",), at_us=loop.moment().as_of_us
        )
    command = [sys.executable, "-m", "lifeloop", "serve", "-C", str(folder), "--port", str(PORT)]
    command += ["--workers", str(workers), "--log-level", "error", "--requests-per-s", "100000"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{PORT}"
        wait_ready(url)
        for n in range(20 * workers):
            get(f"{url}/v1/users/u{n}/recommendations", text)
        yield url, text, server.pid
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=40)
        with Lifeloop.open(folder) as loop:
            keys.revoke(loop.store.kept, key.id)


def wait_ready(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server did not become ready in 30 s")


def get(url: str, key: str) -> Any:
    asked = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.loads(answer.read())


RECOMMEND = """
local wait = {wait}
math.randomseed(os.time())
request = function()
  local u = math.random(0, {users} - 1)
  return wrk.format("GET", "/v1/users/u" .. u .. "/recommendations?k=10")
end
if wait > 0 then delay = function() return math.random(0, 2 * wait) end end
"""
EVENTS = """
math.randomseed(os.time() * 7)
local n = 0
request = function()
  local rows = {{}}
  for i = 1, 100 do
    n = n + 1
    rows[i] = string.format('{{"user_id":"u%d","type":"view","item_id":"i%d"}}',
      math.random(0, {users} - 1), math.random(0, {items} - 1))
  end
  return wrk.format("POST", "/v1/events", nil, "[" .. table.concat(rows, ",") .. "]")
end
"""


def wrk(url: str, key: str, script: str, *, connections: int, seconds: int) -> dict[str, float]:
    """Run wrk; return requests/s, percentiles in ms and how many answers were no success."""
    path = FOLDER / "wrk.lua"
    path.write_text(script)
    threads = str(min(2, connections))
    command = ["wrk", "-t", threads, "-c", str(connections), "-d", f"{seconds}s", "--latency"]
    command += ["-s", str(path), "-H", f"authorization: Bearer {key}"]
    command += ["-H", "content-type: application/json", "--timeout", "10s", url]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = {}
    for line in told.splitlines():
        if match := re.match(r"\s+(50|75|90|99)%\s+([\d.]+)(us|ms|s)", line):
            unit = {"us": 0.001, "ms": 1.0, "s": 1000.0}[match[3]]
            found[f"p{match[1]}_ms"] = float(match[2]) * unit
        elif match := re.match(r"Requests/sec:\s+([\d.]+)", line):
            found["per_s"] = float(match[1])
        elif match := re.search(r"Non-2xx or 3xx responses: (\d+)", line):
            found["refused"] = float(match[1])
        elif match := re.search(r"Socket errors: (.*)", line):
            found["socket_errors"] = float(sum(map(int, re.findall(r"\d+", match[1]))))
    return found


def spent_s(pid: int) -> tuple[float, float]:
    """Return the processor's seconds of the workers below a server, and of PostgreSQL here."""
    told = {"workers": 0.0, "postgres": 0.0}
    tick = os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
        except OSError:  # it has ended
            continue
        fields = rest.split()
        who = "workers" if int(fields[1]) == pid else "postgres" if name == "postgres" else None
        if who is not None:
            told[who] += (int(fields[11]) + int(fields[12])) / tick
    return told["workers"], told["postgres"]


def measured(
    pid: int, url: str, key: str, script: str, *, connections: int, seconds: int
) -> dict[str, float]:
    """Run wrk; add what one answer cost the processor, which says more on a busy machine."""
    before = spent_s(pid)
    told = wrk(url, key, script, connections=connections, seconds=seconds)
    after = spent_s(pid)
    n = max(1.0, told["per_s"] * seconds)
    for name, was, now in zip(("workers", "postgres"), before, after, strict=True):
        told[f"{name}_cpu_ms"] = round((now - was) * 1000 / n, 2)
    return told


def memory_mb(pid: int) -> list[float]:
    """Return the resident memory of every worker below a server, in MB."""
    told = subprocess.run(
        ["ps", "--ppid", str(pid), "-o", "rss="], capture_output=True, text=True, check=False
    ).stdout
    return [round(int(line) / 1024, 1) for line in told.split()]


def peer(n_items: int, n_users: int) -> dict[str, float]:
    """Return what one ``recommend`` of implicit's ALS costs in this process, in ms."""
    import scipy.sparse as sp
    from implicit.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(SEED)
    n = n_users * 5
    rows = np.repeat(np.arange(n_users), 5)
    columns = (n_items * rng.power(0.35, n)).astype(np.int64) % n_items
    matrix = sp.csr_matrix((np.ones(n, np.float32), (rows, columns)), (n_users, n_items))
    model = AlternatingLeastSquares(factors=64, iterations=1, random_state=SEED, num_threads=1)
    spent = []
    with threadpool_limits(1):
        model.fit(matrix, show_progress=False)
        for user in rng.integers(0, n_users, 200):
            started = time.perf_counter()
            model.recommend(user, matrix[user], N=10)
            spent.append((time.perf_counter() - started) * 1000)
    return {"p50_ms": float(np.median(spent)), "p99_ms": float(np.percentile(spent, 99))}


def load(
    folder: Path, *, n_items: int, n_users: int, seconds: int, workers: int, pipeline: str
) -> dict[str, Any]:
    wait = int(1000 * CONNECTIONS / ASKED_PER_S) - ANSWERED_MS
    fill: dict[str, Any] = {"users": n_users, "items": n_items}
    with served(folder, workers=workers, pipeline=pipeline) as (url, key, pid):
        asked = RECOMMEND.format
        shapes: dict[str, tuple[str, int]] = {
            "one_at_a_time": (asked(wait=0, **fill), 1),
            "at_100_per_s": (asked(wait=wait, **fill), CONNECTIONS),
            "as_many_as_it_can": (asked(wait=0, **fill), 8),
            "events_in_batches_of_100": (EVENTS.format(**fill), 4),
        }
        told: dict[str, Any] = {
            name: measured(pid, url, key, script, connections=connections, seconds=seconds)
            for name, (script, connections) in shapes.items()
        }
        told["memory_mb"] = memory_mb(pid)
    told["events_per_s"] = round(told["events_in_batches_of_100"]["per_s"] * 100)
    return told


def soak(
    folder: Path, *, n_items: int, n_users: int, seconds: int, workers: int, pipeline: str
) -> dict[str, Any]:
    """Ask for recommendations for long; memory after a tenth of the time and at the end."""
    wait = int(1000 * CONNECTIONS / 50) - ANSWERED_MS
    script = RECOMMEND.format(wait=wait, users=n_users, items=n_items)
    with served(folder, workers=workers, pipeline=pipeline) as (url, key, pid):
        wrk(url, key, script, connections=CONNECTIONS, seconds=max(5, seconds // 10))
        first = memory_mb(pid)
        rest = wrk(url, key, script, connections=CONNECTIONS, seconds=seconds - seconds // 10)
        last = memory_mb(pid)
    return {
        "seconds": seconds,
        "memory_mb": [first, last],
        "growth": round(sum(last) / sum(first) - 1, 4),
        **rest,
    }


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument(
        "what", nargs="?", default="load", choices=("prepare", "load", "soak", "all")
    )
    asked.add_argument("--items", type=int, default=100_000)
    asked.add_argument("--users", type=int, default=200_000)
    asked.add_argument("--seconds", type=int, default=15)
    asked.add_argument("--soak-seconds", type=int, default=1200)
    asked.add_argument("--workers", type=int, default=2)
    asked.add_argument("--pipeline", choices=tuple(PIPELINES), default="four")
    given = asked.parse_args()
    FOLDER.mkdir(exist_ok=True)
    folder = prepare(given.items, given.users)
    sizes: dict[str, Any] = {
        "n_items": given.items,
        "n_users": given.users,
        "workers": given.workers,
    }
    sizes["pipeline"] = given.pipeline
    told: dict[str, Any] = {
        "seed": SEED,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        **sizes,
    }
    if given.what in ("load", "all"):
        told["load"] = load(folder, seconds=given.seconds, **sizes)
        told["implicit_recommend"] = peer(given.items, given.users)
    if given.what in ("soak", "all"):
        told["soak"] = soak(folder, seconds=given.soak_seconds, **sizes)
    (FOLDER / "serve.json").write_text(json.dumps(told, indent=1))
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
