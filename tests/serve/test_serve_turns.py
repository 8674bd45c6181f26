"""Slates of one process are made in turn, and nothing else waits for them; ready means loaded."""

import threading
import time
from typing import Any

import anyio.to_thread
import pytest
from starlette.testclient import TestClient

from lifeloop import Lifeloop
from lifeloop.serve import ServeSettings, create_app, keys, process

ASK = {
    "user": lambda client, n: client.get(f"/v1/users/{n}/recommendations"),
    "body": lambda client, n: client.post("/v1/recommendations", json={"user_id": n}),
    "rerank": lambda client, n: client.post(
        "/v1/rerank", json={"user_id": n, "candidates": ["tea-1"]}
    ),
}


@pytest.mark.parametrize("route", ASK)
@pytest.mark.parametrize("at_once", [1, 2])
def test_slates_are_made_in_the_order_in_which_they_were_asked_for(
    served_shop: Lifeloop, monkeypatch: pytest.MonkeyPatch, route: str, at_once: int
) -> None:
    _, text = keys.create(served_shop.store.kept, name="", roles=("admin",), at_us=1)
    app = create_app(served_shop, settings=ServeSettings(slates=at_once))
    begun: list[str] = []
    under_way, most = 0, 0
    gate, lock = threading.Event(), threading.Lock()
    real = app.state.service.recommend

    def held(asked: Any) -> Any:
        nonlocal under_way, most
        with lock:
            begun.append(asked.user_id)
            under_way += 1
            most = max(most, under_way)
        gate.wait(10)
        with lock:
            under_way -= 1
        return real(asked)

    monkeypatch.setattr(app.state.service, "recommend", held)
    with TestClient(app, headers={"authorization": f"Bearer {text}"}) as client:
        answers: list[int] = []
        threads = []
        for n in range(6):
            thread = threading.Thread(
                target=lambda n=n: answers.append(ASK[route](client, f"u{n}").status_code)
            )
            threads.append(thread)
            thread.start()
            _until(lambda n=n: len(begun) + _waiting(app) == n + 1)
        assert client.get("/v1/models").status_code == 200  # while six slates wait
        assert len(begun) == at_once
        gate.set()
        for thread in threads:
            thread.join()
    assert answers == [200] * 6
    assert most == at_once
    if at_once == 1:
        assert begun == [f"u{n}" for n in range(6)]


def _waiting(app: Any) -> int:
    told: int = app.state.service.slates.statistics().tasks_waiting
    return told


def _until(true: Any) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.005)
    raise AssertionError("it never came to that")


def test_a_worker_that_is_ready_has_opened_its_model(
    served_shop: Lifeloop, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = _worker(served_shop, monkeypatch)
    assert _opened(served_shop) is None
    with TestClient(app) as client:
        assert client.get("/readyz").json() == {"status": "ready", "model": True}
        assert _opened(served_shop) == served_shop.store.active_bundle()


def test_a_worker_starts_without_a_model_and_with_one_that_does_not_open(
    served_shop: Lifeloop, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = served_shop.store.active_bundle()
    for file in (served_shop.home / "bundles" / str(bundle)).glob("*.json"):
        file.write_text("{")
    with TestClient(_worker(served_shop, monkeypatch)) as client:
        assert client.get("/healthz").status_code == 200
    assert _opened(served_shop) is None


def _opened(loop: Lifeloop) -> str | None:
    last = loop.live.last
    return None if last is None else last.model.bundle


def _worker(loop: Lifeloop, monkeypatch: pytest.MonkeyPatch) -> Any:
    told = '{"where": "", "settings": {}, "log_level": "critical"}'
    monkeypatch.setenv(process.VARIABLE, told)
    monkeypatch.setattr(process, "_opened", lambda where: loop)
    monkeypatch.setattr(loop, "close", lambda: None)  # the test's own
    monkeypatch.setattr("lifeloop.serve.logs.start", lambda **given: None)
    monkeypatch.setattr("gc.freeze", lambda: None)
    monkeypatch.setattr("sys.setswitchinterval", lambda seconds: None)
    return process.make_app()


def test_only_slates_share_their_threads(served_shop: Lifeloop) -> None:
    app = create_app(served_shop, settings=ServeSettings(slates=1, threads=3))
    with TestClient(app) as client:
        portal: Any = client.portal
        assert portal.call(anyio.to_thread.current_default_thread_limiter).total_tokens == 3
        assert app.state.service.slates.total_tokens == 1
