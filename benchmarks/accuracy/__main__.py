"""One table for one data set and protocol, ours and theirs.

    python -m benchmarks.accuracy --data ml-100k --protocol loo
    python -m benchmarks.accuracy --data ml-1m --protocol time --models ours:ranked,implicit:als

Every model runs in a process of its own (a peer in its own environment under .bench/peers, made
from benchmarks/peers/requirements-*.txt), sees ``known.npz`` only, tunes with Optuna on the
validation part for the same ``--minutes`` or ``--trials``, whichever ends first, is fitted again
on everything known and writes its lists. Ours learn what they learn inside ``fit``, on a slice
of what is known, and get no trials. Models measured before stay in the table until ``--again``;
rows of the results whose lists are not here stay too, where questions and data are the same.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.accuracy import splits, table
from benchmarks.accuracy.datasets import LOADERS, Absent, load

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PEERS = ROOT / "benchmarks" / "peers"
WORK = ROOT / ".bench"
LIBRARIES = ("implicit", "lightfm", "lenskit", "recbole", "rectools", "surprise")
QUICK = (
    "ours:popularity,ours:ease,ours:lifeloop,ours:ranked,implicit:als,implicit:bpr,"
    "implicit:itemknn,lightfm:warp,lenskit:ease,lenskit:userknn,recbole:sasrec,rectools:sasrec"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="ml-100k", help=", ".join(LOADERS))
    parser.add_argument("--protocol", default="loo", help=", ".join(splits.protocols()))
    parser.add_argument("--models", default=QUICK, help="library:model, with commas")
    parser.add_argument("--minutes", type=float, default=2.0, help="tuning of each model at most")
    parser.add_argument("--trials", type=int, default=30, help="tuning of each model at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="measure also what was measured")
    given = parser.parse_args()
    for name in given.data.split(","):
        for protocol in given.protocol.split(","):
            one(name, protocol, given)


def one(name: str, protocol: str, given: argparse.Namespace) -> None:
    try:
        data = load(name)
    except Absent as absent:
        print(f"{name}: not measured: {absent}")
        return
    folder = splits.write(data, protocol, WORK / "accuracy")
    for model in [m.strip() for m in given.models.split(",") if m.strip()]:
        library, _, which = model.partition(":")
        out = folder / f"lists.{library}.{which}.npz"
        if given.again or not out.exists():
            run(library, which, folder, out, given)
    found = table.measured(folder)
    about = json.loads((folder / "about.json").read_text())
    best, told = table.paired(found)
    own = {m: {k: v for k, v in row.items() if not k.startswith("_")} for m, row in found.items()}
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    path = results / f"{name}-{protocol}.json"
    earlier = json.loads(path.read_text()) if path.is_file() else {}
    models, best, told = table.with_earlier(earlier, about, own, best, told)
    result = {
        "split": about,
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "load": [round(x, 1) for x in os.getloadavg()],
        },
        "measured": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "budget": {"minutes": given.minutes, "trials": given.trials, "seed": given.seed},
        "models": models,
        "best_peer": best,
        "paired_with_best_peer": told,
    }
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{name}, {protocol}: {about['asked']:,} asked, {about['items']:,} items, ", end="")
    print(f"questions {about['targets_hash']}, data {about['data_hash']}\n")
    print(table.markdown(models, best, told))


def run(library: str, model: str, folder: Path, out: Path, given: argparse.Namespace) -> None:
    python = interpreter(library)
    command = [str(python), str(PEERS / "run.py"), "--library", library, "--model", model]
    command += ["--split", str(folder), "--out", str(out), "--seed", str(given.seed)]
    command += ["--minutes", str(given.minutes), "--trials", str(given.trials)]
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if library == "ours":
        inherited["PYTHONPATH"] = str(ROOT / "src")
    print(f"{folder.name}: {library}:{model} …", flush=True)
    with (folder / f"log.{library}.{model}.txt").open("w") as log:
        code = subprocess.run(command, env=inherited, stdout=log, stderr=log, cwd=WORK).returncode
    if code:
        print(f"  failed (exit {code}); see {log.name}")


def interpreter(library: str) -> Path:
    """Return the Python of a library's environment; made once from its requirements."""
    if library in ("ours", "baskets"):
        return Path(sys.executable)
    if library not in LIBRARIES:
        raise SystemExit(f"no library {library!r}; there are ours, {', '.join(LIBRARIES)}")
    home = WORK / "peers" / library
    python = home / "bin" / "python"
    if not (home / ".done").exists():
        shutil.rmtree(home, ignore_errors=True)
        print(f"making the environment of {library} …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        wanted = PEERS / f"requirements-{library}.txt"
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*install, "-r", str(wanted)], check=True)
        (home / ".done").touch()
    return python


if __name__ == "__main__":
    main()
