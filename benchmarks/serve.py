"""The service under load, on PostgreSQL, from the same machine: ``make bench-serve``.

``python -m benchmarks.serve [prepare|load|soak|all] [--items N] [--users N] [--seconds S]``
makes a shop once (``benchmarks.serve_shop``), serves it with ``lifeloop serve``, and asks it with
wrk over loopback. Prints each number beside its goal, and keeps all of them in .bench/serve.json.
Beside them stands what the ``recommend`` of the library implicit costs in the same run.

*How a rate is kept.* Every connection waits for its answer, then for a random time, then asks
again. With 96 connections (32 for events) that wait about a second each, requests come at random
moments, as from many people who know nothing of each other, and a slow answer hardly holds the
next ones back: near an open loop, and no train of requests at equal distances. A few connections
that wait shortly would slow down with the server and hide what it does to others. Each shape runs
four times as long as the short ones, because a p99 needs a tail: 100 per second give 60 slower
answers in a minute.

*What else ran.* A machine that is not idle shows: ``cores_busy`` counts everything that ran, and
``workers_cpu_ms`` and ``postgres_cpu_ms`` what an answer cost, which hardly depends on the others.
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
from threading import Event, Thread
from typing import Any

import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from benchmarks.serve_shop import FOLDER, PIPELINES, SEED, prepare
from lifeloop import Lifeloop
from lifeloop.serve import keys

PORT = 8397
BATCH = 100
SLATES_PER_S, SLATE_CONNECTIONS = 104, 96
BATCHES_PER_S, BATCH_CONNECTIONS = 31.2, 32
"""A little above the goals of 100 slates and 3,000 events per second, to reach them."""
ANSWERED_MS = 25
"""What an answer takes, more or less: taken off the wait, so that the rate comes out."""


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
    for _ in range(1200):
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server did not become ready in 120 s")


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
local wait = {wait}
math.randomseed(os.time() * 7)
local n = 0
request = function()
  local rows = {{}}
  for i = 1, {batch} do
    n = n + 1
    rows[i] = string.format('{{"user_id":"u%d","type":"view","item_id":"i%d"}}',
      math.random(0, {users} - 1), math.random(0, {items} - 1))
  end
  return wrk.format("POST", "/v1/events", nil, "[" .. table.concat(rows, ",") .. "]")
end
if wait > 0 then delay = function() return math.random(0, 2 * wait) end end
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


def pause_ms(connections: int, per_s: float) -> int:
    """Return how long each connection waits on average, so that together they ask this often."""
    return max(1, int(1000 * connections / per_s) - ANSWERED_MS)


def busy_s() -> float:
    """Return the seconds that all cores of this machine have worked."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    user, nice, system, _, _, irq, softirq, _ = fields
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


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
    before, busy = spent_s(pid), busy_s()
    told = wrk(url, key, script, connections=connections, seconds=seconds)
    after = spent_s(pid)
    told["cores_busy"] = round((busy_s() - busy) / seconds, 2)
    n = max(1.0, told["per_s"] * seconds)
    for name, was, now in zip(("workers", "postgres"), before, after, strict=True):
        told[f"{name}_cpu_ms"] = round((now - was) * 1000 / n, 2)
    return told


def memory_mb(pid: int) -> list[dict[str, float]]:
    """Return the memory of every worker below a server, in MB.

    ``resident`` counts the files of the bundle that are mapped, which the workers share and the
    system takes back when it wants; ``own`` does not.
    """
    listed = subprocess.run(
        ["ps", "--ppid", str(pid), "-o", "pid=,args="], capture_output=True, text=True, check=False
    ).stdout
    told = []
    for line in listed.splitlines():
        child, _, command = line.strip().partition(" ")
        if "spawn_main" not in command:  # what Python runs beside its workers
            continue
        held = Path(f"/proc/{child}/smaps_rollup").read_text()
        found = dict(re.findall(r"^(\w+):\s+(\d+) kB", held, re.MULTILINE))
        told.append({"resident": int(found["Rss"]) / 1024, "own": int(found["Anonymous"]) / 1024})
    return [{name: round(mb, 1) for name, mb in worker.items()} for worker in told]


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
    """Run every shape once; the paced ones for four times ``seconds``."""
    given: dict[str, Any] = {"users": n_users, "items": n_items, "batch": BATCH}
    slates, batches = SLATE_CONNECTIONS, BATCH_CONNECTIONS
    shapes = {
        "one_at_a_time": (RECOMMEND, 0, 1, seconds),
        "at_100_per_s": (RECOMMEND, pause_ms(slates, SLATES_PER_S), slates, 4 * seconds),
        "as_many_as_it_can": (RECOMMEND, 0, 8, seconds),
        "events_at_3000_per_s": (EVENTS, pause_ms(batches, BATCHES_PER_S), batches, 4 * seconds),
        "events_as_many_as_it_can": (EVENTS, 0, 4, seconds),
    }
    told: dict[str, Any] = {}
    with served(folder, workers=workers, pipeline=pipeline) as (url, key, pid):
        for name, (script, wait, connections, long_s) in shapes.items():
            text = script.format(wait=wait, **given)
            told[name] = measured(pid, url, key, text, connections=connections, seconds=long_s)
            print(f"{name}: {json.dumps(told[name])}", file=sys.stderr, flush=True)
        told["memory_mb"] = memory_mb(pid)
    return told


def soak(
    folder: Path, *, n_items: int, n_users: int, seconds: int, workers: int, pipeline: str
) -> dict[str, Any]:
    """Ask for 50 slates a second for long; memory every half minute.

    The growth is from a tenth of the time on: in the first minutes the caches fill that a worker
    keeps by design (3,000 slates, 20,000 items), and pages of the mapped bundle are read.
    """
    wait = pause_ms(SLATE_CONNECTIONS, 50)
    script = RECOMMEND.format(wait=wait, users=n_users, items=n_items)
    first = max(1, seconds // 10)
    series: list[tuple[int, list[dict[str, float]]]] = []
    with served(folder, workers=workers, pipeline=pipeline) as (url, key, pid):
        done = Event()

        def watch() -> None:
            started, every_s = time.monotonic(), min(30, first)
            while not done.wait(every_s):
                series.append((round(time.monotonic() - started), memory_mb(pid)))
                print(*series[-1], file=sys.stderr, flush=True)

        watching = Thread(target=watch)
        watching.start()
        try:
            rest = wrk(url, key, script, connections=SLATE_CONNECTIONS, seconds=seconds)
            series.append((seconds, memory_mb(pid)))
        finally:
            done.set()
            watching.join()
    settled = next(workers for at, workers in series if at >= first)
    told: dict[str, Any] = {"seconds": seconds, "from_s": first, "memory_mb": series, **rest}
    for kind in ("resident", "own"):
        was, now = (sum(worker[kind] for worker in held) for held in (settled, series[-1][1]))
        told[f"growth_{kind}"] = round(now / was - 1, 4)
    return told


Row = tuple[str, str, str, bool]


def judged(told: dict[str, Any]) -> list[Row]:
    """Return what was measured beside what is wanted, and whether it is reached."""
    rows: list[Row] = []
    if "load" in told:
        ran = told["load"]
        one, paced, most = (ran[n] for n in ("one_at_a_time", "at_100_per_s", "as_many_as_it_can"))
        events, flood = ran["events_at_3000_per_s"], ran["events_as_many_as_it_can"]
        rows += [
            ("one slate at a time", _shown(one), "p50 < 15 ms", one["p50_ms"] < 15),
            (
                "slates, paced",
                _shown(paced),
                ">= 100/s, p99 < 80 ms",
                paced["per_s"] >= 100 and paced["p99_ms"] < 80,
            ),
            ("slates, 8 at once", _shown(most), ">= 100/s", most["per_s"] >= 100),
            (
                "events, paced",
                f"{events['per_s'] * BATCH:,.0f}/s, {_shown(events)}",
                ">= 3,000/s, p99 < 100 ms",
                events["per_s"] * BATCH >= 3000 and events["p99_ms"] < 100,
            ),
            (
                "events, 4 batches at once",
                f"{flood['per_s'] * BATCH:,.0f}/s, {_shown(flood)}",
                ">= 3,000/s",
                flood["per_s"] * BATCH >= 3000,
            ),
            _memory_row(ran["memory_mb"]),
        ]
        wrong = sum(
            shape.get(name, 0) for shape in (one, paced, most, events, flood) for name in _BAD
        )
        rows.append(("answers that failed", f"{wrong:.0f}", "0", wrong == 0))
    if "soak" in told:
        grown = told["soak"]
        text = f"{grown['growth_resident']:+.1%}, own {grown['growth_own']:+.1%}"
        wanted = f"<= 5 % in {grown['seconds']} s"
        rows.append(("growth of memory", text, wanted, grown["growth_resident"] <= 0.05))
    return rows


_BAD = ("refused", "socket_errors")


def _shown(shape: dict[str, float]) -> str:
    return (
        f"{shape['per_s']:.1f}/s, p50 {shape['p50_ms']:.1f}, p99 {shape['p99_ms']:.1f} ms, "
        f"cpu {shape['workers_cpu_ms']:.1f} + {shape['postgres_cpu_ms']:.1f} ms, "
        f"{shape['cores_busy']} cores busy"
    )


def _memory_row(held: list[dict[str, float]]) -> Row:
    most = max(worker["resident"] for worker in held)
    own = max(worker["own"] for worker in held)
    return ("memory of a worker", f"{most:.0f} MB, own {own:.0f}", "< 1,500 MB", most < 1500)


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
    folder = prepare(given.items, given.users, given.pipeline)
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
    for what, found, wanted, reached in judged(told):
        print(
            f"{what:26} {found}\n{'':26} wanted {wanted}: {'reached' if reached else 'NOT REACHED'}"
        )
    if "implicit_recommend" in told:
        print(f"{'implicit, recommend':26} p50 {told['implicit_recommend']['p50_ms']:.1f} ms")


if __name__ == "__main__":
    main()
