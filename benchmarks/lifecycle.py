"""Speed of the lifecycle functions against the same tables by hand (Polars) and in DuckDB SQL.

``python -m benchmarks.lifecycle [--events N] [--only NAME,NAME] [--repeat K] [--alone]`` prints
JSON and keeps it under ``.bench/``. Every ratio is of two times in one run, the best of K each,
taken in turns; equal numbers are asserted for growth accounting, retention and the stages before
any timing.
"""

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import polars as pl

from benchmarks import lifecycle_path_by_hand
from benchmarks.lifecycle_by_hand import BY_HAND as TABLES_BY_HAND
from benchmarks.lifecycle_by_hand import SQL, duck
from benchmarks.lifecycle_log import DAY_US, SEED, log_file
from lifeloop import lifecycle as lc
from lifeloop.lifecycle.daily import applied, build, change

FOLDER = Path(".bench")
DEFINITIONS = lc.StageDefinitions(joins=("sign_up",), activates=("add_to_cart",))
BY_HAND: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    **TABLES_BY_HAND,
    "stages": lifecycle_path_by_hand.stages,
    "stage_counts": lifecycle_path_by_hand.stage_counts,
    "transitions": lifecycle_path_by_hand.transitions,
    "churn_rate": lifecycle_path_by_hand.churn_rate,
}
OURS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "growth_accounting": lambda e: lc.growth_accounting(e, grain="week"),
    "retention": lambda e: lc.retention(e, grain="week"),
    "active_users": lc.active_users,
    "active_day_histogram": lc.active_day_histogram,
    "activity_states": lc.activity_states,
    "sessions": lc.sessions,
    "traffic": lc.traffic,
    "signup_conversion": lambda e: lc.signup_conversion(e, grain="week"),
    "activation": lambda e: lc.activation(e, activates=["add_to_cart"], grain="week"),
    "conversion": lambda e: lc.conversion(e, grain="week"),
    "orders": lambda e: lc.orders(e, grain="week"),
    "observed_ltv": lambda e: lc.observed_ltv(e, grain="month"),
    "rfm": lambda e: lc.rfm(e, grain="week"),
    "satisfaction": lc.satisfaction,
    "referrals": lambda e: lc.referrals(e, activates=["add_to_cart"], grain="week"),
    "return_rates": lambda e: lc.return_rates(e, grain="week"),
    "stages": lambda e: lc.stages(e, definitions=DEFINITIONS),
    "stage_counts": lambda e: lc.stage_counts(e, definitions=DEFINITIONS, grain="week"),
    "transitions": lambda e: lc.transitions(e, definitions=DEFINITIONS, grain="week"),
    "churn_rate": lambda e: lc.churn_rate(e, definitions=DEFINITIONS, grain="week"),
}


def timed(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def best(runs: dict[str, Callable[[], Any]], repeat: int) -> dict[str, float]:
    """Return the best time of each, taken in turns so that a busy moment hits all alike."""
    found = dict.fromkeys(runs, float("inf"))
    for _ in range(repeat):
        for name, run in runs.items():
            found[name] = min(found[name], timed(run))
    return found


def check_equal(events: pl.DataFrame, con: Any) -> None:
    mine = lc.growth_accounting(events, grain="week", lateness_hours=0)
    flows = ["new", "returning", "resurrecting", "dormant"]
    hand = BY_HAND["growth_accounting"](events)
    assert mine.select(flows).rows() == hand.select(flows).rows()
    assert mine.select(flows).rows() == [tuple(r[1:]) for r in duck(con, "growth_accounting")]
    cells = lc.retention(events, grain="week").filter(pl.col("retained") > 0)
    assert cells["retained"].to_list() == BY_HAND["retention"](events)["retained"].to_list()
    assert cells["retained"].to_list() == [r[2] for r in duck(con, "retention")]
    placed, stood = OURS["stages"](events), lifecycle_path_by_hand.stages(events)
    shown = lifecycle_path_by_hand.SHOWN
    assert placed["stage"].to_list() == [shown[k] for k in stood["stage"].to_list()]
    assert placed["since"].to_physical().to_list() == stood["since"].to_list()
    moves = lifecycle_path_by_hand.transitions(events)
    assert OURS["transitions"](events)["n"].sum() == moves["n"].sum()
    churn = OURS["churn_rate"](events).filter(pl.col("n") > 0).select("n", "churned")
    assert churn.rows() == lifecycle_path_by_hand.churn_rate(events).select("n", "churned").rows()


def bench_tables(events: pl.DataFrame, names: list[str], repeat: int) -> dict[str, Any]:
    import duckdb

    con = duckdb.connect()
    con.execute("set threads = 2")
    if set(names) & set(SQL):
        con.register("arrow", events.select("user_id", "t_us", "type").to_arrow())
        con.execute("create table events as select * from arrow")
        con.unregister("arrow")
        check_equal(events, con)
    found: dict[str, Any] = {}
    for name in names:
        runs: dict[str, Callable[[], Any]] = {"ours": lambda n=name: OURS[n](events)}  # type: ignore[misc]
        if name in BY_HAND:
            runs["polars"] = lambda n=name: BY_HAND[n](events)  # type: ignore[misc]
        if name in SQL:
            runs["duckdb"] = lambda n=name: duck(con, n)  # type: ignore[misc]
        times = best(runs, repeat)
        row: dict[str, Any] = {"seconds": round(times["ours"], 3)}
        for other in ("polars", "duckdb"):
            if other in times:
                row[f"of_{other}"] = round(times["ours"] / times[other], 2)
        found[name] = row
    return found


def bench_daily(events: pl.DataFrame) -> dict[str, Any]:
    """Time one more day on a state of all days before it, against computing all of it."""
    last = int(str(events["t_us"].max())) // DAY_US * DAY_US
    before, new = events.filter(pl.col("t_us") < last), events.filter(pl.col("t_us") >= last)
    started = time.perf_counter()
    daily = build(before, definitions=DEFINITIONS)
    full = time.perf_counter() - started
    increment = min(timed(lambda: applied(daily, change(daily, new))) for _ in range(3))
    return {
        "full_s": round(full, 3),
        "increment_s": round(increment, 3),
        "share": round(increment / full, 4),
        "events_of_the_day": new.height,
        "users_of_the_day": new["user_id"].n_unique(),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--only", default="")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="no comparisons: time and memory")
    asked = parser.parse_args()
    names = [n for n in asked.only.split(",") if n] or [*OURS, "daily"]
    events = pl.read_parquet(log_file(asked.events, folder=FOLDER))
    names_of_tables = [n for n in names if n in OURS]
    if asked.alone:
        tables: dict[str, Any] = {
            name: {"seconds": round(timed(lambda n=name: OURS[n](events)), 3)}  # type: ignore[misc]
            for name in names_of_tables
        }
    else:
        tables = bench_tables(events, names_of_tables, asked.repeat)
    result: dict[str, Any] = {
        "events": events.height,
        "users": events["user_id"].n_unique(),
        "seed": SEED,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "tables": tables,
        "total_s": round(sum(row["seconds"] for row in tables.values()), 2),
    }
    if "daily" in names:
        result["daily"] = bench_daily(events)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result["peak_gb"] = round(peak / 1e6, 2)
    FOLDER.mkdir(exist_ok=True)
    tag = f"{asked.events}{'-' + '-'.join(names) if asked.only else ''}"
    (FOLDER / f"lifecycle-{tag}.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
