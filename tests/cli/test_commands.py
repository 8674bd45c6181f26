"""The commands: stdout holds one JSON object and nothing else.

The project is made, and whatever is killed, limited or started twice runs, as a user runs it: in a
process of its own. What is asked of a made project is asked inside this one, which loads the
libraries once.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from lifeloop.cli.app import app

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "lifeloop"]


@dataclass(frozen=True)
class Done:
    """What a command wrote and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def run(folder: Path, *args: str, ok: bool = True) -> Done:
    """Run a command inside this process."""
    with contextlib.chdir(folder):
        result = CliRunner().invoke(app, args)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    done = Done(result.exit_code, result.stdout, result.stderr)
    if ok:
        assert done.returncode == 0, done.stderr
    return done


def run_alone(folder: Path, *args: str) -> Done:
    """Run a command as a process of its own."""
    done = subprocess.run(
        [*COMMAND, *args], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def answer(folder: Path, *args: str, by: Callable[..., Done] = run) -> dict[str, Any]:
    """Run with --json: stdout must be exactly one JSON object."""
    body = json.loads(by(folder, *args, "--json").stdout)
    assert isinstance(body, dict)
    return body


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained project on the simulated shop, made with the commands alone."""
    from lifeloop.simulate import world, write_world

    folder = tmp_path_factory.mktemp("project")
    made = world(n_users=120, n_items=80, days=120, seed=4)
    write_world(made, folder / "data")
    run_alone(folder, "init", "shop")
    shop = folder / "shop"
    settings = shop / "lifeloop.toml"
    settings.write_text(
        settings.read_text(encoding="utf-8") + '\n[models]\ntext_encoder = "tfidf"\n',
        encoding="utf-8",
    )
    for kind in ("items", "users", "events"):
        body = answer(shop, "import", kind, f"../data/{kind}.csv", by=run_alone)
        assert body["accepted"] > 0, body
        assert body["rejected"] == 0, body
    anonymous_id, user_id, _ = made.links.row(0)
    linked = answer(shop, "identify", anonymous_id, user_id, by=run_alone)
    assert linked["status"] == "linked"
    body = answer(shop, "train", by=run_alone)
    assert body["items"] == 80
    return shop


def test_import_reports_exactly_what_became_of_every_row(project: Path) -> None:
    again = answer(project, "import", "events", "../data/events.csv")
    n_rows = pl.read_csv(project.parent / "data" / "events.csv").height
    assert (again["accepted"], again["duplicate"], again["rejected"]) == (0, n_rows, 0)
    assert again["reasons"] == []


def test_refused_rows_are_told_by_line_kept_and_retried(project: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(
        "user_id,type,item_id,occurred_at\n"
        "sim-x1,view,sim-i1,2025-02-30\n"
        "null,view,sim-i1,2025-02-03\n"
        "sim-x1,view,sim-i1,2025-02-03T10:00:00Z\n",
        encoding="utf-8",
    )
    body = answer(project, "import", "events", str(path))
    assert (body["accepted"], body["duplicate"], body["rejected"]) == (1, 0, 2)
    assert sorted(line for r in body["reasons"] for line in r["lines"]) == [2, 3]
    held = answer(project, "quarantine", "list")
    assert held["total"] == 2
    assert {row["line"] for row in held["rows"]} == {2, 3}
    tried = answer(project, "quarantine", "retry")
    assert (tried["accepted"], tried["rejected"]) == (0, 2)
    assert answer(project, "quarantine", "list")["total"] == 2


def test_every_reading_command_answers_in_json_and_as_a_table(project: Path) -> None:
    overview = answer(project, "stages")
    assert sum(s["users"] for s in overview["stages"]) == overview["users"]
    user = _some_user(project)
    slate = answer(project, "recommend", user, "-k", "4")
    assert len(slate["recommendations"]) == 4
    first = slate["recommendations"][0]
    for name in ("item_id", "score", "rank", "source", "reason", "stage", "bundle", "propensity"):
        assert first[name] is not None
    assert first["fallback"] is False
    place = answer(project, "stage", user)
    assert place["stage"] == slate["stage"]
    item = first["item_id"]
    assert len(answer(project, "similar", item, "-k", "3")["similar"]) == 3
    assert answer(project, "predict", user, item)["value"] is not None
    assert answer(project, "status")["events"] > 0
    for args in (
        ("stages",),
        ("recommend", user),
        ("stage", user, "--why"),
        ("similar", item),
        ("predict", user, item),
        ("status",),
        ("models", "list"),
        ("quarantine", "list"),
    ):
        assert run(project, *args).stdout.strip()


def test_models_are_listed_activated_and_rolled_back(project: Path) -> None:
    first = answer(project, "status")["bundle"]
    second = answer(project, "train")["bundle"]
    listed = answer(project, "models", "list")["bundles"]
    assert [row["bundle"] for row in listed if row["active"]] == [second]
    assert answer(project, "models", "rollback")["active"] == first
    assert answer(project, "models", "activate", second)["active"] == second
    failed = run(project, "models", "activate", "no-such-bundle", ok=False)
    assert failed.returncode == 1
    assert "no-such-bundle" in failed.stderr


def test_evaluate_prints_every_model_with_its_interval(project: Path) -> None:
    body = answer(project, "evaluate", "--models", "popularity,itemknn,lifeloop")
    assert set(body["models"]) == {"popularity", "itemknn", "lifeloop"}
    assert body["protocol"] == "time"
    assert len(body["targets_hash"]) >= 12
    for found in body["models"].values():
        low, high = found["ndcg@10_ci"]
        assert low <= found["ndcg@10"] <= high
        assert found["by_stage"]
        assert 0 < found["coverage@10"] <= 1
    wrong = run(project, "evaluate", "--models", "popularty", ok=False)
    assert wrong.returncode == 1
    assert "popularity" in wrong.stderr


def test_an_error_with_json_is_still_one_object(tmp_path: Path) -> None:
    done = run(tmp_path, "recommend", "ada", "--json", ok=False)
    assert done.returncode == 1
    body = json.loads(done.stdout)
    assert body["error"] == "ConfigError"
    assert "lifeloop init" in body["message"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("header.csv", b"user_id,type,occurred_at\n"),
        ("corrupt.parquet", b"PAR1" + b"\x00" * 50 + b"PAR1"),
        ("cut.csv.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b"),
        ("nul.csv", b"\x00" * 300),
        ("wrong.csv", b"colour,shape\nred,round\n"),
        ("missing.csv", None),
    ],
)
def test_a_file_of_which_nothing_is_stored_exits_non_zero_and_says_why(
    project: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    before = answer(project, "status")["events"]
    done = run(project, "import", "events", str(path), "--json", ok=False)
    assert done.returncode == 1
    body = json.loads(done.stdout)
    assert name in body["message"] or "row" in body["message"]
    assert "Traceback" not in done.stderr
    assert answer(project, "status")["events"] == before


def test_a_log_with_swapped_columns_is_refused_and_stores_nothing(
    project: Path, tmp_path: Path
) -> None:
    events = pl.read_csv(project.parent / "data" / "events.csv", infer_schema=False)
    items = events.filter(pl.col("item_id").is_not_null() & pl.col("user_id").is_not_null())
    path = tmp_path / "swapped.csv"
    items.head(50).rename({"user_id": "item_id", "item_id": "user_id"}).write_csv(path)
    before = answer(project, "stages")["users"]
    done = run(project, "import", "events", str(path), ok=False)
    assert done.returncode == 1
    assert "transposed" in done.stderr
    assert "--map" in done.stderr
    assert answer(project, "stages")["users"] == before


def test_a_bad_map_is_a_usage_error(project: Path) -> None:
    done = run(project, "import", "events", "x.csv", "--map", "user_id", ok=False)
    assert done.returncode == 2
    assert "our_column=your_column" in done.stderr


def _many_lines(path: Path, n: int) -> None:
    rng = np.random.default_rng(1)
    second = np.sort(rng.integers(1_735_689_600, 1_740_000_000, n))
    pl.DataFrame(
        {
            "user_id": [f"u{i}" for i in rng.integers(0, 500, n)],
            "item_id": [f"i{i}" for i in rng.integers(0, 500, n)],
            "type": ["view"] * n,
            "occurred_at": second,
        }
    ).write_csv(path)


@pytest.mark.parametrize("seed", range(3))
def test_kill_during_an_import_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    n = 150_000
    _many_lines(tmp_path / "e.csv", n)
    run(tmp_path, "init", "p")
    folder = tmp_path / "p"
    running = subprocess.Popen(
        [*COMMAND, "import", "events", "../e.csv", "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    time.sleep(0.8 + 0.9 * float(np.random.default_rng(seed).random()))
    running.send_signal(signal.SIGKILL)
    running.communicate()
    held = answer(folder, "status")["events"]
    body = answer(folder, "import", "events", "../e.csv")
    assert body["accepted"] == n - held
    assert body["duplicate"] == held
    assert answer(folder, "status")["events"] == n


def test_a_full_disk_stops_an_import_cleanly_and_it_resumes(tmp_path: Path) -> None:
    n = 60_000
    _many_lines(tmp_path / "e.csv", n)
    run(tmp_path, "init", "p")
    folder = tmp_path / "p"
    answer(folder, "status")

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))

    done = subprocess.run(
        [*COMMAND, "import", "events", "../e.csv", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=small_files,
    )
    assert done.returncode == 1, done.stdout
    body = json.loads(done.stdout)
    assert body["error"] == "StoreFull"
    assert "free space" in body["message"]
    held = answer(folder, "status")["events"]
    assert held < n
    body = answer(folder, "import", "events", "../e.csv")
    assert (body["accepted"], body["duplicate"]) == (n - held, held)


def test_two_processes_importing_one_file_store_it_once(tmp_path: Path) -> None:
    n = 30_000
    _many_lines(tmp_path / "e.csv", n)
    run(tmp_path, "init", "p")
    both = [
        subprocess.Popen(
            [*COMMAND, "import", "events", "../e.csv", "--json"],
            cwd=tmp_path / "p",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        for _ in range(2)
    ]
    bodies = [json.loads(process.communicate()[0]) for process in both]
    assert sum(body["accepted"] for body in bodies) == n
    assert sum(body["duplicate"] for body in bodies) == n


def _some_user(project: Path) -> str:
    events = pl.read_csv(project.parent / "data" / "events.csv")
    bought = events.filter(pl.col("type") == "purchase")["user_id"].drop_nulls()
    return str(bought.sort()[0])


def test_the_lifecycle_commands_answer_as_table_json_csv_and_picture(
    project: Path, tmp_path: Path
) -> None:
    overview = answer(project, "lifecycle", "--grain", "week")
    assert {row["stage"] for row in overview["metrics"]["rows"]} >= {"acquisition", "loyalty"}
    assert "生命周期关键指标" in run(project, "lifecycle", "--lang", "zh").stdout
    listed = answer(project, "metrics")
    assert "growth_accounting" in {row["name"] for row in listed["tables"]}
    orders = answer(project, "metrics", "orders", "--by", "channel", "-o", "repeat_within_days=30")
    assert orders["columns"][0]["name"] == "channel"
    picture = tmp_path / "heat.png"
    done = run(project, "cohorts", "--png", str(picture), "--csv")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert done.stdout.startswith("cohort,offset,n,retained,rate")
    assert "100%" in run(project, "cohorts").stdout
    stages = answer(project, "stages")["stages"]
    stage = max(stages, key=lambda s: s["users"])
    rows = run(project, "users", "--stage", stage["stage"], "--csv").stdout.splitlines()
    assert len(rows) == stage["users"] + 1
    assert rows[0].startswith("user_id,date,stage")
    user = rows[1].split(",")[0]
    told = answer(project, "stage", user, "--why")
    assert told["moves"][-1]["to"] == told["stage"] == stage["stage"]
    shown = run(project, "stage", user, "--why", "--lang", "zh").stdout
    assert "规则" in shown
    assert "阶段之间的流动" in shown
    assert told["rule"] not in shown
    assert told["rule"] in run(project, "stage", user, "--why", "--lang", "en").stdout
    filtered = answer(project, "metrics", "traffic", "--where", "channel=web", "--members")
    assert all("user_id" in row for row in filtered["rows"])


def test_what_cannot_be_asked_of_the_lifecycle_says_what_can(project: Path) -> None:
    for args, told in (
        (("metrics", "retentoin"), "did you mean 'retention'"),
        (("metrics", "retention", "-o", "kind=weekly"), "nday, unbounded, bracket"),
        (("users", "--stage", "risky"), "at_risk"),
        (("cohorts", "--start", "2025-13-01"), "YYYY-MM-DD"),
        (("lifecycle", "--lang", "fr"), "en, zh"),
    ):
        done = run(project, *args, ok=False)
        assert done.returncode == 1
        assert told in " ".join(done.stderr.split())
