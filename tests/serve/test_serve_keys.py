"""Who may do what: every route without a key, with a wrong one, with one of too small a role."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from lifeloop import Lifeloop
from lifeloop.errors import InputError, UnknownId
from lifeloop.serve import ServeSettings, create_app, keys
from lifeloop.serve.gate import OPEN, PAGES
from lifeloop.testing.served import Asking

WRONG = "ll_0123456789ab_" + "x" * 43


def routes(app: FastAPI) -> Iterator[tuple[str, str, set[str]]]:
    """Every method and path of the application, and the roles that its routes ask for."""
    for route in app.routes:
        roles = set()
        if isinstance(route, APIRoute):
            roles = {
                vars(d.call)["role"]
                for d in route.dependant.dependencies
                if d.call is not None and "role" in vars(d.call)
            }
        path = str(getattr(route, "path", ""))
        for method in getattr(route, "methods", None) or ():
            if method not in ("HEAD", "OPTIONS") and not path.startswith(PAGES):
                yield method, path.replace(":id", ""), roles


def filled(path: str) -> str:
    for name in ("item_id", "user_id", "bundle", "job", "name"):
        path = path.replace("{" + name + "}", "x")
    return path


def test_every_route_refuses_without_a_key_and_with_a_wrong_one(asking: Asking) -> None:
    stranger = asking()
    app: Any = stranger.app
    seen = 0
    for method, path, _ in routes(app):
        if path in OPEN:
            continue
        seen += 1
        for headers in ({}, {"authorization": f"Bearer {WRONG}"}, {"x-api-key": "nonsense"}):
            answer = stranger.request(method, filled(path), headers=headers)
            assert answer.status_code in (401, 429), f"{method} {path} {answer.status_code}"
            assert answer.headers["content-type"] == "application/problem+json"
    assert seen >= 25


def test_every_route_but_the_open_ones_asks_for_a_role(asking: Asking) -> None:
    app: Any = asking().app
    without = {p for _, p, roles in routes(app) if not roles and p != "/v1/events"}
    assert without == OPEN


def test_a_key_opens_only_what_its_role_is_for(asking: Asking) -> None:
    app: Any = asking().app
    clients = {role: asking(role) for role in ("ingest", "read")}
    for method, path, roles in routes(app):
        for role, client in clients.items():
            if roles and role not in roles:
                answer = client.request(method, filled(path), json={})
                assert answer.status_code == 403, f"{role}: {method} {path} {answer.status_code}"
    assert asking("read").post("/v1/events", json={}).status_code == 403
    assert asking("admin").get("/v1/models").status_code == 200
    assert asking("operate").post("/v1/events", json=[]).status_code == 202


def test_a_secret_is_never_kept_and_a_rotated_or_revoked_key_ends(served_shop: Lifeloop) -> None:
    kept = served_shop.store.kept
    key, text = keys.create(kept, name="site", roles=("ingest",), at_us=1)
    secret = text.rpartition("_")[2]
    assert secret not in str(kept.every(keys.KIND))
    held = {k.id: k for k in keys.listed(kept)}
    assert keys.find(held, text) == key
    _, newer = keys.rotate(kept, key.id, at_us=2)
    held = {k.id: k for k in keys.listed(kept)}
    assert keys.find(held, text) is None
    assert keys.find(held, newer) is not None
    keys.revoke(kept, key.id)
    assert keys.listed(kept) == []
    with pytest.raises(UnknownId, match="lifeloop keys list"):
        keys.revoke(kept, key.id)
    with pytest.raises(InputError, match="ingest, read, operate, admin"):
        keys.create(kept, name="", roles=("root",), at_us=1)


def test_wrong_keys_are_slowed_down_and_right_ones_are_limited(served_shop: Lifeloop) -> None:
    limits = ServeSettings(refusals_per_s=0.01, requests_per_s=0.01, burst=3, key_cache_s=0)
    _, text = keys.create(served_shop.store.kept, name="", roles=("read",), at_us=1)
    with TestClient(create_app(served_shop, settings=limits)) as client:
        right = {"authorization": f"Bearer {text}"}
        told = [client.get("/v1/models", headers=right).status_code for _ in range(4)]
        assert told == [200, 200, 200, 429]
        wrong = {"authorization": f"Bearer {WRONG}"}
        first, second = (client.get("/v1/models", headers=wrong) for _ in range(2))
        assert (first.status_code, second.status_code) == (401, 429)
        assert int(second.headers["retry-after"]) >= 1


def test_a_key_in_the_query_counts_for_the_events_of_a_page_only(asking: Asking) -> None:
    client = asking("operate")
    text = client.headers.pop("authorization").removeprefix("Bearer ")
    sent = client.post(f"/v1/events?key={text}", json={"type": "view", "user_id": "u1"})
    assert sent.status_code == 202
    assert client.get(f"/v1/models?key={text}").status_code == 401


def test_headers_lock_pages_and_strangers_out(asking: Asking) -> None:
    answer = asking().get("/healthz")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in answer.headers
