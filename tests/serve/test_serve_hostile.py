"""What a hostile or broken caller sends: never a server error, never more memory than allowed."""

import gzip
import json
import os
import random
import resource
import string
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from lifeloop import Lifeloop
from lifeloop.serve import ServeSettings, body
from lifeloop.serve.problems import Problem
from lifeloop.testing.served import Asking

ROUNDS = int(os.environ.get("LIFELOOP_FUZZ", "800"))
"""Malformed bodies; `make chaos` sends 100,000."""


def bomb(gigabytes: int) -> bytes:
    """A gzip of that many zeros, made of one block repeated."""
    squeezer = zlib.compressobj(9, wbits=31)
    head = squeezer.compress(b"\0" * (1 << 24)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    block = squeezer.compress(b"\0" * (1 << 24)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (gigabytes * 64 - 1)


def test_ten_gigabytes_of_zeros_are_not_opened() -> None:
    packed = bomb(10)
    assert len(packed) < 12_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Problem, match="too large") as refused:
        body.opened(packed, limit=64_000_000)
    assert refused.value.status == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def test_a_small_bomb_is_refused_over_http_and_the_next_request_is_answered(
    asking: Asking,
) -> None:
    client = asking("operate")
    for path, method in (("/v1/events", "POST"), ("/v1/items", "PUT")):
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        answer = client.request(method, path, content=bomb(1), headers=headers)
        assert answer.status_code == 413, answer.text
    assert client.post("/v1/events", json={"user_id": "u", "type": "view"}).status_code == 202


@pytest.mark.parametrize(
    ("content", "encoding", "status"),
    [
        (gzip.compress(b"[]")[:-4], "gzip", 400),
        (gzip.compress(b"[]") + b"more", "gzip", 400),
        (b"[]", "gzip", 400),
        (b"[]", "br", 415),
        (b"", None, 400),
        (b"[" * 200_000, None, 400),
        (b'{"a":' * 30 + b"1" + b"}" * 30, None, 400),
        (b'"text"', None, 422),
        (b"\xff\xfe", None, 400),
        (b'{"user_id":"\\ud800","type":"view"}', None, 400),
        (b'{"user_id":"u","type":"view","value":NaN}', None, 400),
        (b'{"user_id":"u","type":"view","value":1e999}', None, 400),
        (b"x" * 17_000_000, None, 413),
        (b"[" + b"{}," * 10_000 + b"{}]", None, 413),
    ],
    ids=lambda value: str(value)[:12],
)
def test_bodies_that_cannot_be_are_refused(
    asking: Asking, content: bytes, encoding: str | None, status: int
) -> None:
    headers = {} if encoding is None else {"content-encoding": encoding}
    answer = asking("ingest").post("/v1/events", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["title"]


INJECTIONS = (
    "'; DROP TABLE events; --",
    '" OR 1=1 --',
    "$${table}$$",
    "{{7*7}}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{x}}{% endfor %}",
    "${jndi:ldap://x}",
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "<script>alert(1)</script>",
    "a\r\nset-cookie: x=1",
    "\u202eevil",
    "%s%n%x",
    "\x1b[31m",
)


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_is_text_wherever_it_stands(asking: Asking, served_shop: Lifeloop, text: str) -> None:
    from urllib.parse import quote

    client = asking("operate")
    stored = client.post(
        "/v1/events", json={"user_id": text, "type": "view", "item_id": text, "text": text}
    )
    assert stored.status_code in (202, 422)
    path = quote(text, safe="").replace(".", "%2E")
    made = client.put(f"/v1/items/{path}", json={"title": text, text: text})
    assert made.status_code in (201, 422)
    if made.status_code == 201:
        held = client.get(f"/v1/items/{path}").json()
        assert (held["item_id"], held["title"]) == (text, text)
    params = {"where": f"{text}:{text}", "surface": text, "category": text}
    slate = client.get(f"/v1/users/{path}/recommendations", params=params)
    assert slate.status_code == 200
    assert "set-cookie" not in slate.headers
    answer = client.get(f"/v1/lifecycle/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    table = client.get("/v1/lifecycle/active_users", params={"where": f"country:{text}"})
    assert table.status_code in (200, 422)
    login = client.get("/login", params={"next": text})
    assert "<script>alert" not in login.text
    assert "49" not in login.text
    assert served_shop.store.counts()["items"] >= 24


@pytest.mark.parametrize(
    "header", ["x-request-id", "if-match", "if-none-match", "accept-language", "cookie", "origin"]
)
def test_headers_of_any_bytes_are_harmless(asking: Asking, header: str) -> None:
    client = asking("operate")
    for value in (b"'; --", b"\xff\xfe", b"x" * 5000, b"{{7*7}}", b"*", b"null"):
        for path in ("/v1/items/tea-1", "/login"):
            answer = client.get(path, headers={header.encode(): value})
            assert answer.status_code < 500
            assert len(answer.headers["x-request-id"]) <= 64


def pieces(rng: random.Random) -> Any:
    kinds: list[Any] = [
        None, True, -1, 0.5, 2**70, "", "x", "\x00", "😀" * 50, "2026-13-45", "null", [], {},
        [[[]]], {"a": {"b": []}}, "1e999", -0.0, "u" * 3000,
    ]  # fmt: skip
    return rng.choice(kinds)


def bodies(rng: random.Random) -> Iterator[bytes]:
    names = (
        *("user_id", "anonymous_id", "type", "item_id", "occurred_at", "value", "context"),
        *("quantity", "event_id", "order_id", "is_bot", "position", "rating", "text"),
    )
    while True:
        rows = [
            {rng.choice(names): pieces(rng) for _ in range(rng.randint(0, 6))}
            for _ in range(rng.randint(1, 3))
        ]
        raw = json.dumps(rows if rng.random() < 0.7 else rows[0]).encode()
        if rng.random() < 0.5:
            at = rng.randrange(len(raw))
            junk = bytes(rng.randrange(256) for _ in range(rng.randint(0, 4)))
            raw = raw[:at] + junk + raw[at + rng.randint(0, 3) :]
        if rng.random() < 0.1:
            raw = rng.choice(string.printable).encode() * rng.randint(0, 50)
        if rng.random() < 0.1:
            raw = gzip.compress(raw, 1)[: rng.randint(1, 60)]
        yield raw


def test_malformed_bodies_never_cause_a_server_error(asking: Asking) -> None:
    client = asking("operate")
    rng = random.Random(5)
    told: dict[int, int] = {}
    targets = [("POST", "/v1/events")] * 6 + [
        ("PUT", "/v1/items/fuzz"),
        ("PATCH", "/v1/users"),
        ("POST", "/v1/recommendations"),
        ("POST", "/v1/rerank"),
        ("POST", "/v1/identify"),
        ("POST", "/v1/items/remove"),
    ]
    made = bodies(rng)
    for _ in range(ROUNDS):
        method, path = rng.choice(targets)
        headers = {"content-type": rng.choice(["application/json", "application/x-ndjson", "x/y"])}
        if rng.random() < 0.1:
            headers["content-encoding"] = "gzip"
        raw = next(made)
        answer = client.request(method, path, content=raw, headers=headers)
        told[answer.status_code] = told.get(answer.status_code, 0) + 1
        assert answer.status_code < 500, (method, path, raw, answer.text)
    assert {400, 422} <= set(told), told


def test_a_request_for_ever_more_is_bounded(asking: Asking) -> None:
    client = asking("operate")
    assert client.get("/v1/users/u0/recommendations", params={"k": 10**9}).status_code == 422
    assert client.get("/v1/lifecycle/active_users", params={"limit": 10**9}).status_code == 422
    rows = [{"item_id": f"i{n}"} for n in range(10_001)]
    assert client.put("/v1/items", json=rows).status_code == 413
    many = {"user_id": "u0", "candidates": [f"i{n}" for n in range(10_001)]}
    assert client.post("/v1/rerank", json=many).status_code == 422


def test_no_log_line_holds_what_a_caller_sent(
    asking: Asking, capsys: pytest.CaptureFixture[str]
) -> None:
    from lifeloop.serve import logs

    logs.start()
    client: TestClient = asking("operate")
    client.post("/v1/events", json={"user_id": "secret-person", "type": "view", "value": "x"})
    client.get("/v1/users/secret-person/recommendations?surface=secret-place")
    client.get("/v1/items/secret-item")
    told = capsys.readouterr().err
    logs.stop()
    lines = [json.loads(line) for line in told.splitlines()]
    assert len([line for line in lines if line["what"] == "request"]) == 3
    assert all(
        line["request_id"] and line["ms"] >= 0 for line in lines if line["what"] == "request"
    )
    assert "secret" not in told


def test_limits_are_settings() -> None:
    assert ServeSettings(max_batch=5).max_batch == 5
    with pytest.raises(ValueError, match="max_depth"):
        ServeSettings(max_depth=0)
