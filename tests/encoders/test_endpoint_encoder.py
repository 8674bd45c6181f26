"""Embedding services, over a real local HTTP server that misbehaves in every way we know of."""

import email.utils
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifeloop.contracts import Encoder
from lifeloop.encoders import Endpoint, VectorCache
from lifeloop.encoders.endpoint import retry_after_s
from lifeloop.errors import ServiceRefused, ServiceUnreachable

Reply = tuple[int, dict[str, str], bytes]


class Service:
    """What the server does: one entry of ``script`` per request, then good answers."""

    def __init__(self) -> None:
        self.script: list[Callable[[dict[str, Any]], Reply]] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""


def vector(text: str) -> list[float]:
    return [float(len(text)), 1.0, float(text.count("a"))]


def good(body: dict[str, Any]) -> dict[str, Any]:
    rows = [
        {"object": "embedding", "index": n, "embedding": vector(text)}
        for n, text in enumerate(body["input"])
    ]
    return {"object": "list", "data": rows[::-1], "model": body["model"]}  # any order is allowed


def answers(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Reply]:
    return lambda body: (200, {}, json.dumps(change(good(body))).encode())


def status(code: int, **headers: str) -> Callable[[dict[str, Any]], Reply]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda body: (code, named, b'{"error": {"message": "told so"}}')


@pytest.fixture
def service() -> Iterator[Service]:
    held = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            held.asked.append(body)
            held.headers.append(dict(self.headers))
            act = held.script.pop(0) if held.script else answers(lambda told: told)
            code, headers, raw = act(body)
            try:
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)
            except OSError:
                pass  # the client gave up waiting

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    held.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield held
    server.shutdown()
    thread.join()
    server.server_close()


def endpoint(service: Service, waits: list[float] | None = None, **more: Any) -> Endpoint:
    slept = waits if waits is not None else []
    settings: dict[str, Any] = {"per_minute": 1_000_000, "retries": 2} | more
    return Endpoint(service.url, "tiny", sleep=slept.append, **settings)


def test_vectors_come_back_in_the_order_of_the_texts_and_of_length_one(service: Service) -> None:
    encoder: Encoder = endpoint(service)
    vectors, mask = encoder.encode(["aa", "", "banana", "<b></b>"])
    assert mask.tolist() == [True, False, True, False]
    raw = np.array([vector("aa"), vector("banana")])
    np.testing.assert_allclose(
        vectors[mask], raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6
    )
    assert not vectors[~mask].any()
    assert encoder.d == 3
    assert service.asked[-1]["input"] == ["aa", "banana"]
    assert service.asked[-1]["model"] == "tiny"


def test_texts_go_in_batches_of_64(service: Service) -> None:
    endpoint(service).encode([f"text {n}" for n in range(150)])
    assert [len(body["input"]) for body in service.asked] == [1, 64, 64, 22]  # the width is asked


def test_the_key_is_sent_and_is_not_in_the_id(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    encoder = endpoint(service, key_env="MY_KEY")
    encoder.encode(["a"])
    assert service.headers[-1]["Authorization"] == "Bearer sk-secret"
    assert "secret" not in encoder.id
    monkeypatch.delenv("MY_KEY")
    encoder.encode(["b"])
    assert "Authorization" not in service.headers[-1]


def test_another_model_prefix_or_host_is_another_encoder() -> None:
    base = Endpoint("http://a/v1", "m")
    others = [
        Endpoint("http://b/v1", "m"),
        Endpoint("http://a/v1", "n"),
        Endpoint("http://a/v1", "m", prefix="passage: "),
    ]
    assert len({e.id for e in [base, *others]}) == 4
    assert base.id == Endpoint("http://user:pass@a/v1/embeddings?key=1", "m").id or (
        "pass" not in Endpoint("http://user:pass@a/v1/embeddings", "m").id
    )


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(service: Service, code: int) -> None:
    waits: list[float] = []
    service.script = [status(code), status(code)]
    vectors, _ = endpoint(service, waits).encode(["a"])
    assert vectors.any()
    assert waits == [0.5, 1.0]


def test_retry_after_in_seconds_is_kept(service: Service) -> None:
    waits: list[float] = []
    service.script = [status(429, Retry_After="7")]
    endpoint(service, waits).encode(["a"])
    assert waits == [7.0]


def test_retry_after_as_a_date_counts_from_the_clock_of_the_service(service: Service) -> None:
    waits: list[float] = []
    there = 1_000_000_000.0  # a service whose clock is years behind
    service.script = [
        lambda body: (503, {"Date": _date(there), "Retry-After": _date(there + 9)}, b"")
    ]
    endpoint(service, waits).encode(["a"])
    # http.server sends its own Date first; either way the pause is 9 s or already over
    assert waits in ([9.0], [0.0])
    assert retry_after_s({"retry-after": _date(there + 9)}, now_s=there) == 9.0


@pytest.mark.parametrize(
    ("told", "seconds"), [("3", 3.0), ("-2", 0.0), ("soon", None), ("nan", None), ("1e999", None)]
)
def test_a_retry_after_that_cannot_be_read_is_left_alone(told: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": told}, now_s=0.0) == seconds


def test_a_pause_over_a_minute_is_said_and_not_waited_for(service: Service) -> None:
    waits: list[float] = []
    service.script = [status(429, Retry_After="3600")]
    with pytest.raises(ServiceUnreachable, match="pause of 3600 s"):
        endpoint(service, waits).encode(["a"])
    assert waits == []


def test_after_the_last_try_the_reason_is_told(service: Service) -> None:
    service.script = [status(503)] * 3
    with pytest.raises(ServiceUnreachable, match=r"3 tries.*503"):
        endpoint(service).encode(["a"])


def test_a_time_out_is_tried_again(service: Service) -> None:
    def slow(body: dict[str, Any]) -> Reply:
        time.sleep(0.5)
        return 200, {}, b"{}"

    service.script = [slow]
    vectors, _ = endpoint(service, timeout_s=0.15).encode(["a"])
    assert vectors.any()
    assert len(service.asked) >= 2


def test_a_service_that_is_not_there_is_named() -> None:
    gone = Endpoint("http://127.0.0.1:9/v1", "m", retries=1, sleep=lambda s: None)
    with pytest.raises(ServiceUnreachable, match=r"2 tries.*ConnectError"):
        gone.encode(["a"])


def test_a_refusal_is_not_tried_again(service: Service) -> None:
    service.script = [status(401)]
    with pytest.raises(ServiceRefused, match="told so"):
        endpoint(service).encode(["a"])
    assert len(service.asked) == 1


def _without(key: str) -> Callable[[dict[str, Any]], Any]:
    def change(told: dict[str, Any]) -> Any:
        del told["data"][0][key]
        return told

    return change


def _with(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    def change(told: dict[str, Any]) -> Any:
        told["data"][0][key] = value
        return told

    return change


BAD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "fewer vectors than asked": lambda told: {**told, "data": told["data"][1:]},
    "more vectors than asked": lambda told: {**told, "data": told["data"] * 2},
    "a missing index": _without("index"),
    "a null index": _with("index", None),
    "an index twice": _with("index", 0),
    "an index out of range": _with("index", 7),
    "a boolean index": _with("index", True),
    "a missing vector": _without("embedding"),
    "a null vector": _with("embedding", None),
    "an empty vector": _with("embedding", []),
    "another width": _with("embedding", [1.0, 2.0]),
    "not a number": _with("embedding", [float("nan"), 1.0, 1.0]),
    "infinity": _with("embedding", [float("inf"), 1.0, 1.0]),
    "null inside": _with("embedding", [None, 1.0, 1.0]),
    "text inside": _with("embedding", ["1.0", 1.0, 1.0]),
    "no data": lambda told: {"object": "list"},
    "an error with status 200": lambda told: {"error": {"message": "overloaded"}},
}


@pytest.mark.parametrize("case", BAD)
def test_an_answer_that_cannot_be_trusted_is_refused(service: Service, case: str) -> None:
    encoder = endpoint(service)
    assert encoder.d == 3
    service.script = [answers(BAD[case])]
    with pytest.raises(ServiceRefused, match="answered with"):
        encoder.encode(["aa", "bb"])


def test_a_width_that_changes_between_requests_is_refused(service: Service) -> None:
    encoder = endpoint(service)
    assert encoder.d == 3

    def narrow(told: dict[str, Any]) -> Any:
        for row in told["data"]:
            row["embedding"] = [1.0, 2.0]
        return told

    service.script = [answers(narrow)]
    with pytest.raises(ServiceRefused, match="width 2, before that of 3"):
        encoder.encode(["aa", "bb"])


def test_an_answer_that_is_not_json_is_tried_again(service: Service) -> None:
    service.script = [lambda body: (200, {}, b"<html>busy</html>")]
    assert endpoint(service).encode(["a"])[0].any()


def test_a_zero_vector_is_masked(service: Service) -> None:
    encoder = endpoint(service)
    assert encoder.d == 3
    service.script = [answers(_with("embedding", [0, 0, 0]))]  # the last text: rows are reversed
    _, mask = encoder.encode(["aa", "bb"])
    assert mask.tolist() == [True, False]


def test_requests_keep_to_the_rate(service: Service) -> None:
    waits: list[float] = []
    encoder = endpoint(service, waits, per_minute=60)
    encoder.encode([f"{n}" for n in range(130)])  # width, then three batches
    assert len(waits) == 3
    assert waits[0] == pytest.approx(1.0, abs=0.2)
    assert waits[2] == pytest.approx(3.0, abs=0.3)  # the clock stands while sleep is a fake


def test_a_failure_keeps_the_batches_that_were_done(service: Service, tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(150)]
    encoder, cache = endpoint(service, retries=0), VectorCache(tmp_path)
    assert encoder.d == 3
    service.script = [answers(lambda told: told), status(500)]
    with pytest.raises(ServiceUnreachable):
        cache.encode(encoder, texts)
    service.asked.clear()
    vectors, mask = cache.encode(encoder, texts)
    assert mask.all()
    assert sum(len(body["input"]) for body in service.asked) == 150 - 64
    np.testing.assert_allclose(vectors, encoder.encode(texts)[0], atol=1e-6)


def _date(at_s: float) -> str:
    return email.utils.formatdate(at_s, usegmt=True)
