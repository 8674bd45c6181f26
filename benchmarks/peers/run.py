"""Tune, fit and time one model of one library, in that library's own environment.

    PYTHON run.py --library implicit --model als --split DIR --out FILE --minutes 2 --trials 30

Needs numpy and optuna only, beside the library. Reads ``known.npz`` and ``content.npz`` of a split
(see benchmarks/accuracy/splits.py), never ``targets.npz``. Writes the lists [B, 100] and a JSON
line of what was measured. A library module offers ``MODELS``: name -> (space, fit), where
``space(trial)`` returns settings and ``fit(known, settings, seed)`` a function
``recommend(users, k) -> int [B, k]`` (-1 pads).
"""

import argparse
import importlib
import json
import os
import platform
import resource
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

for name in ("OMP_WAIT_POLICY",):
    os.environ.setdefault(name, "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import numpy as np

K = 100
ASKED = 1000
"""People that a trial is judged on at most."""


@dataclass(frozen=True)
class Known:
    """What may be seen: events sorted by (user, time, arrival)."""

    user: np.ndarray  # [n]
    item: np.ndarray  # [n]
    t_s: np.ndarray  # [n] -1: untimed
    n_users: int
    n_items: int
    as_of_s: int
    asked: np.ndarray  # [B]
    request_s: np.ndarray  # [B]
    seen_out: bool
    horizon: str
    folder: str

    def start(self):
        return np.searchsorted(self.user, np.arange(self.n_users + 1))


@dataclass(frozen=True)
class Inner:
    known: Known
    users: np.ndarray
    indptr: np.ndarray
    targets: np.ndarray


def read(folder):
    held = np.load(Path(folder) / "known.npz")
    known = Known(
        user=held["user"],
        item=held["item"],
        t_s=held["t_s"],
        n_users=int(held["n_users"]),
        n_items=int(held["n_items"]),
        as_of_s=int(held["as_of_s"]),
        asked=held["asked"],
        request_s=held["request_s"],
        seen_out=bool(held["seen_out"]),
        horizon=str(held["horizon"]),
        folder=str(folder),
    )
    rows = held["valid_rows"]
    users = held["valid_users"]
    t = known.t_s[rows]
    inner = replace(
        known,
        user=known.user[rows],
        item=known.item[rows],
        t_s=t,
        as_of_s=int(t.max()) + 1 if len(t) else 0,
        asked=users,
        request_s=np.full(len(users), int(t.max()) + 1 if len(t) else 0),
    )
    return known, Inner(inner, users, held["valid_indptr"], held["valid_targets"])


def ndcg(lists, users, inner, k=10):
    """Mean NDCG@k of lists for some of the inner users (places into ``inner.users``)."""
    discount = 1.0 / np.log2(np.arange(k) + 2.0)
    found = []
    for row, place in zip(lists[:, :k], users, strict=True):
        wanted = inner.targets[inner.indptr[place] : inner.indptr[place + 1]]
        gain = float((discount[: len(row)] * np.isin(row, wanted)).sum())
        found.append(gain / float(discount[: min(k, len(wanted))].sum()))
    return float(np.mean(found))


def tune(space, fit, inner, *, minutes, trials, seed):
    """Return the best settings found on validation and how they were found."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    places = np.arange(len(inner.users))
    if len(places) > ASKED:
        places = np.sort(np.random.default_rng(seed).choice(places, ASKED, replace=False))
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=5)
    )

    def one(trial):
        recommend = fit(inner.known, space(trial), seed)
        return ndcg(recommend(inner.users[places], 10), places, inner)

    started = time.perf_counter()
    study.optimize(one, n_trials=trials, timeout=60 * minutes, catch=(ValueError, RuntimeError))
    done = [t for t in study.trials if t.value is not None]
    return study.best_trial, {
        "trials": len(done),
        "failed_trials": len(study.trials) - len(done),
        "tuned_s": round(time.perf_counter() - started, 1),
        "validation_ndcg@10": round(study.best_value, 5),
        "settings": study.best_params,
    }


class Watch(threading.Thread):
    """Peak resident memory while something runs, in MB, sampled every 20 ms."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak = 0
        self.over = threading.Event()

    def run(self):
        page = os.sysconf("SC_PAGE_SIZE")
        while not self.over.is_set():
            with open("/proc/self/statm") as file:
                self.peak = max(self.peak, int(file.read().split()[1]) * page)
            self.over.wait(0.02)

    def stop(self):
        self.over.set()
        self.join()
        return round(self.peak / 2**20)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    space, fit = importlib.import_module(f"lib_{given.library}").MODELS[given.model]
    known, inner = read(given.split)
    # what trains in passes stops at the end of the pass in which this is over
    os.environ["PEER_FIT_S"] = str(60 * given.minutes)
    settings, told = {}, {"trials": 0, "tuned_s": 0.0}
    if space is not None:
        best, told = tune(
            space, fit, inner, minutes=given.minutes, trials=given.trials, seed=given.seed
        )
        settings = space(best)
    watch = Watch()
    watch.start()
    started, cpu = time.perf_counter(), time.process_time()
    recommend = fit(known, settings, given.seed)
    fit_s, fit_cpu_s = time.perf_counter() - started, time.process_time() - cpu
    started = time.perf_counter()
    lists = np.full((len(known.asked), K), -1, dtype=np.int32)
    for lo in range(0, len(known.asked), 2048):
        part = np.asarray(recommend(known.asked[lo : lo + 2048], K))
        lists[lo : lo + len(part), : part.shape[1]] = part
    batch_s = time.perf_counter() - started
    spent = []
    for user in known.asked[:: max(1, len(known.asked) // 50)][:50]:
        started = time.perf_counter()
        recommend(np.array([user], dtype=np.int32), 10)
        spent.append((time.perf_counter() - started) * 1e3)
    peak = watch.stop()
    about = {
        "library": given.library,
        "model": given.model,
        "seed": given.seed,
        **told,
        "fit_s": round(fit_s, 2),
        "fit_cpu_s": round(fit_cpu_s, 2),
        "users_per_s": round(len(known.asked) / batch_s),
        "request_p50_ms": round(float(np.percentile(spent, 50)), 3),
        "peak_mb": peak,
        "peak_with_tuning_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "python": platform.python_version(),
        "versions": versions(given.library),
        "notes": list(getattr(recommend, "notes", ())),
    }
    np.savez(given.out, lists=lists, about=np.str_(json.dumps(about)))
    print(json.dumps(about))


def versions(library):
    from importlib.metadata import PackageNotFoundError, version

    held = {}
    names = {"lightfm": "lightfm-next", "surprise": "scikit-surprise", "ours": "lifeloop"}
    for name in (names.get(library, library), "numpy", "torch"):
        try:
            held[name] = version(name)
        except PackageNotFoundError:
            continue
    return held


if __name__ == "__main__":
    main()
