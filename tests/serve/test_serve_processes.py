"""Real processes: several workers on one store, kill -9, a database that dies, a clean stop."""

import json
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lifeloop import Lifeloop
from lifeloop.testing.postgres import StartedServer, started_server
from lifeloop.testing.running import Running, running
from lifeloop.testing.served import SETTINGS, fill

pytestmark = pytest.mark.extras

SECONDS = float(os.environ.get("LIFELOOP_CHAOS_S", "4"))
"""How long each load goes on after its fault; `make chaos` takes longer."""


class Load:
    """People who send events and ask for slates, and remember what they were promised."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.promised: list[str] = []
        self.refused = 0
        self.levels: dict[str, int] = {}
        self.wrong: list[str] = []
        self.slates: list[tuple[str, bool]] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def _send(self, http: httpx.Client) -> None:
        ids = [uuid.uuid4().hex for _ in range(20)]
        rows = [
            {"event_id": i, "user_id": f"u{n % 9}", "type": "view", "item_id": f"tea-{n % 8}"}
            for n, i in enumerate(ids)
        ]
        answer = http.post("/v1/events", json=rows)
        with self._lock:
            if answer.status_code == 202:
                self.promised += ids
            elif answer.status_code in (503, 507):
                self.refused += 1
            else:
                self.wrong.append(f"events: {answer.status_code} {answer.text}")

    def _ask(self, http: httpx.Client) -> None:
        answer = http.get("/v1/users/u1/recommendations", params={"k": 3})
        with self._lock:
            if answer.status_code != 200:
                self.wrong.append(f"slate: {answer.status_code} {answer.text}")
                return
            told = answer.json()
            self.levels[told["level"]] = self.levels.get(told["level"], 0) + 1
            self.slates.append((told["request_id"], told["logged"]))
            ids = [row["item_id"] for row in told["recommendations"]]
            if len(set(ids)) != 3:
                self.wrong.append(f"slate: {ids}")

    def _go_on(self, act: Callable[[httpx.Client], None]) -> None:
        headers = {"authorization": f"Bearer {self.server.key}"}
        with httpx.Client(base_url=self.server.url, headers=headers, timeout=20) as http:
            while not self._stop.is_set():
                try:
                    act(http)
                except httpx.TransportError:  # a worker died under it: nothing was promised
                    self.refused += 1
                    time.sleep(0.05)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        threads = [
            threading.Thread(target=self._go_on, args=(act,))
            for act in (self._send, self._send, self._ask)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()


def kept_once(folder: Path, load: Load) -> None:
    """Every promised event is there, once; every logged slate is there."""
    with Lifeloop.open(folder) as loop:
        held = loop.store.snapshot().events["event_id"].to_list()
        decided = loop.store.decided([i for i, logged in load.slates if logged])
    assert len(held) == len(set(held))
    assert set(load.promised) <= set(held)
    assert all(decision is not None for decision in decided)
    assert not load.wrong, load.wrong[:3]
    assert load.promised
    assert load.slates


def project(folder: Path, url: str | None) -> Path:
    folder.mkdir()
    toml = f'name = "{SETTINGS["name"]}"\nextends = "ecommerce"\n'
    toml += "" if url is None else f'url = "{url}"\n'
    toml += '[models]\ntext_encoder = "tfidf"\nease_items = 50\n'
    (folder / "lifeloop.toml").write_text(toml)
    with Lifeloop.open(folder) as loop:
        fill(loop, folder)
        loop.train()
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def shop_folder(request: Any, tmp_path: Path) -> Iterator[Path]:
    if request.param == "sqlite":
        yield project(tmp_path / "shop", None)
        return
    with started_server() as server:
        yield project(tmp_path / "shop", server.url)


def test_a_killed_worker_loses_nothing_and_comes_back(shop_folder: Path) -> None:
    with running(shop_folder, workers=2, options=("--log-level", "error")) as server:
        load = Load(server)
        with load.going_on():
            took = []
            for _ in range(2):
                time.sleep(SECONDS / 4)
                took.append(server.kill_worker())
                server.wait_ready()
            time.sleep(SECONDS)
    replaced = ", ".join(f"{seconds:.2f}" for seconds in took)
    print(f"a worker killed with -9 was replaced in {replaced} s; lost requests {load.refused}")
    kept_once(shop_folder, load)
    assert set(load.levels) <= {"full"}


def test_a_killed_database_refuses_events_and_slates_go_on(tmp_path: Path) -> None:
    with started_server() as postgres:
        folder = project(tmp_path / "shop", postgres.url)
        with running(folder, workers=2, options=("--log-level", "error")) as server:
            load = Load(server)
            with load.going_on():
                time.sleep(SECONDS / 2)
                killed(postgres)
                time.sleep(SECONDS / 2)
                assert httpx.get(f"{server.url}/readyz").status_code == 503
                postgres.start()
                recovery_s = server.wait_ready()
                time.sleep(SECONDS)
            told = spooled(folder)
        print(f"recovery after kill -9 of PostgreSQL: {recovery_s:.2f} s, levels {load.levels}")
        assert recovery_s < 10
        assert told == 0
        assert load.levels.get("cached", 0) + load.levels.get("popularity", 0) > 0
        assert load.levels["full"] > 0
        kept_once(folder, load)


def killed(postgres: StartedServer) -> None:
    """End every process of a database server at once."""
    path = Path(postgres._running)
    os.kill(int(path.read_text().split()[0]), signal.SIGKILL)
    for _ in range(100):
        try:
            os.kill(int(path.read_text().split()[0]), 0)
        except (ProcessLookupError, FileNotFoundError):
            break
        time.sleep(0.05)
    time.sleep(0.3)  # its children end by themselves when they notice


def spooled(folder: Path) -> int:
    for _ in range(50):
        left = sum(1 for _ in (folder / "spool").glob("*.jsonl"))
        if not left:
            return 0
        time.sleep(0.1)
    return left


def test_a_stop_answers_what_is_in_flight(shop_folder: Path) -> None:
    with running(shop_folder, workers=2, options=("--log-level", "error")) as server:
        load = Load(server)
        with load.going_on():
            time.sleep(1)
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(timeout=30)
    assert server.process.returncode == 0
    kept_once(shop_folder, load)


def test_every_process_sees_what_another_one_wrote(shop_folder: Path) -> None:
    with running(shop_folder, workers=2, options=("--log-level", "error")) as server:
        headers = {"authorization": f"Bearer {server.key}"}
        url = "/v1/users/{}/recommendations"
        for n in range(20):  # each on a connection of its own: any worker may answer
            with httpx.Client(base_url=server.url, headers=headers) as http:
                event = {"user_id": f"fresh{n}", "type": "view", "item_id": "rope-1"}
                assert http.post("/v1/events", json=event).status_code == 202
            with httpx.Client(base_url=server.url, headers=headers) as http:
                told = http.get(url.format(f"fresh{n}"), params={"k": 3}).json()
            assert {r["item_id"].split("-")[0] for r in told["recommendations"]} == {"rope"}
        with httpx.Client(base_url=server.url, headers=headers) as http:
            assert http.delete("/v1/items/rope-2").status_code == 204
        for n in range(10):
            with httpx.Client(base_url=server.url, headers=headers) as http:
                told = http.get(url.format(f"fresh{n}"), params={"k": 50}).json()
            assert "rope-2" not in [row["item_id"] for row in told["recommendations"]]
        assert (
            "lifeloop_request_seconds_count"
            in httpx.get(f"{server.url}/metrics", headers=headers).text
        )


def test_a_training_runs_once_and_is_followed_from_any_process(shop_folder: Path) -> None:
    with running(shop_folder, workers=2, options=("--log-level", "error")) as server:
        headers = {"authorization": f"Bearer {server.key}"}
        http = httpx.Client(base_url=server.url, headers=headers, timeout=60)
        before = http.get("/v1/users/u0/recommendations").json()["bundle"]
        started = http.post("/v1/train")
        assert started.status_code == 202
        job = started.json()["job"]
        second = http.post("/v1/train")
        assert (second.status_code, second.json()["job"]) == (409, job)
        told = []
        with http.stream("GET", f"/v1/train/{job}/events") as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    told.append(json.loads(line.removeprefix("data: ")))
        assert told[-1]["state"] == "done", told[-1]
        assert {t["state"] for t in told} <= {"starting", "running", "done"}
        after = http.get("/v1/users/u0/recommendations").json()["bundle"]
        assert after == told[-1]["bundle"] != before
        assert http.post("/v1/models/rollback").json() == {"active": before}
        assert http.get("/v1/users/u0/recommendations").json()["bundle"] == before
        assert http.get("/v1/train").json()["jobs"][0]["state"] == "done"
        http.close()
    shutil.rmtree(shop_folder, ignore_errors=True)
