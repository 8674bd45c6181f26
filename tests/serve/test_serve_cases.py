"""Cases S1 to S10 as kinds: not the one input that broke something, but all that are like it."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from lifeloop import Lifeloop
from lifeloop.errors import StoreError
from lifeloop.serve import ServeSettings, create_app, keys, ladder, rates, service
from lifeloop.serve.gate import OPEN, PAGES
from lifeloop.serve.problems import MEDIA_TYPE
from lifeloop.testing.served import SETTINGS, TOPICS, Asking

URL = "/v1/users/{}/recommendations"

Slate = Callable[..., Any]


def by_path(client: TestClient, user_id: str, **asked: Any) -> Any:
    params = {k: json.dumps(v) if k == "context" else v for k, v in asked.items()}
    return client.get(URL.format(user_id), params=params)


def by_body(client: TestClient, user_id: str, **asked: Any) -> Any:
    who = {"user_id": user_id}
    if user_id.startswith("anon:"):
        who = {"anonymous_id": user_id.removeprefix("anon:")}
    return client.post("/v1/recommendations", json={**who, **asked})


def by_session(client: TestClient, user_id: str, **asked: Any) -> Any:
    history = [{"type": "view", "item_id": "tea-1"}]
    return client.post("/v1/recommendations", json={"history": history, **asked})


SLATES: tuple[Slate, ...] = (by_path, by_body, by_session)


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    found = [row["item_id"] for row in answer.json()["recommendations"]]
    assert len(found) == len(set(found)), "the same item twice"  # S6, wherever a slate is read
    return found


# ---------------------------------------------------------------- S1


def _event(kind: str, item_id: str, **more: Any) -> Callable[[TestClient, Lifeloop, str], None]:
    def send(client: TestClient, loop: Lifeloop, user_id: str) -> None:
        who = {"user_id": user_id}
        if user_id.startswith("anon:"):
            who = {"anonymous_id": user_id.removeprefix("anon:")}
        row = {**who, "type": kind, "item_id": item_id, **more}
        assert client.post("/v1/events", json=row).status_code == 202

    return send


def _trained(client: TestClient, loop: Lifeloop, user_id: str) -> None:
    client.put("/v1/items/tea-9", json={"title": "tea number 9", "categories": ["tea"]})
    bundle = loop.train()["bundle"]
    assert client.post(f"/v1/models/{bundle}/activate").status_code == 200


def _hidden(client: TestClient, loop: Lifeloop, user_id: str) -> None:
    assert client.delete("/v1/items/rope-3").status_code == 204


BETWEEN: dict[str, Callable[[TestClient, Lifeloop, str], None]] = {
    "view": _event("view", "lamp-7"),
    "cart": _event("add_to_cart", "rope-1"),
    "purchase": _event("purchase", "lamp-2", order_id="o", value=3),
    "bad rating": _event("rating", "tea-1", rating=1),
    "impression": _event("impression", "tea-2", position=1),
    "training": _trained,
    "removal": _hidden,
}


@pytest.mark.parametrize("who", ["u0", "new", "anon:visitor"])
@pytest.mark.parametrize("ask", [by_path, by_body])
@pytest.mark.parametrize("what", BETWEEN)
def test_later_pages_repeat_nothing_and_skip_nothing_but_what_is_taken_away(
    asking: Asking, served_shop: Lifeloop, what: str, ask: Slate, who: str
) -> None:
    client = asking("operate")
    before = set(ids(ask(client, who, k=100)))
    answer = ask(client, who, k=4)
    seen = ids(answer)
    BETWEEN[what](client, served_shop, who)
    while (cursor := answer.json()["cursor"]) is not None:
        answer = ask(client, who, k=4, cursor=cursor)
        seen += ids(answer)
    assert len(seen) == len(set(seen))
    now = set(ids(ask(client, who, k=100)))
    assert now - set(seen) == set()  # nothing that may be shown was skipped
    assert before - set(seen) <= before - now
    if what == "purchase":
        assert "lamp-2" not in now
        assert seen.count("lamp-2") == int("lamp-2" in seen[:4])
    if what == "removal":
        assert "rope-3" not in seen[4:]


# ---------------------------------------------------------------- S2


HIDE: dict[str, Callable[[TestClient, str], Any]] = {
    "delete": lambda client, item: client.delete(f"/v1/items/{item}"),
    "delete many": lambda client, item: client.post("/v1/items/remove", json={"ids": [item]}),
    "sold out": lambda client, item: client.patch(f"/v1/items/{item}", json={"stock": 0}),
    "sold out, many": lambda client, item: client.patch(
        "/v1/items", json=[{"item_id": item, "stock": 0}]
    ),
    "replaced by one that is over": lambda client, item: client.put(
        f"/v1/items/{item}", json={"available_until": "2020-01-01T00:00:00Z"}
    ),
    "not yet, many": lambda client, item: client.put(
        "/v1/items", json=[{"item_id": item, "available_from": "2090-01-01T00:00:00Z"}]
    ),
}


@pytest.mark.parametrize("how", HIDE)
def test_what_was_taken_away_is_in_no_slate_however_it_is_asked_for(
    asking: Asking, how: str
) -> None:
    client = asking("operate")
    first = {ask: ask(client, "u0", k=2) for ask in SLATES}
    rest = ids(by_path(client, "u0", k=100))
    gone = next(i for i in rest if all(i not in ids(answer) for answer in first.values()))
    assert HIDE[how](client, gone).status_code in (200, 204)
    for ask, answer in first.items():
        assert gone not in ids(ask(client, "u0", k=100))
        assert gone not in ids(ask(client, "u0", k=100, cursor=answer.json()["cursor"]))
        assert gone not in ids(ask(client, "u0", k=100, context={"items": [gone]}))
    near = client.get("/v1/items/tea-7/similar", params={"k": 100}).json()["items"]
    assert gone not in [row["item_id"] for row in near]
    assert gone not in ids(client.post("/v1/rerank", json={"user_id": "u0", "candidates": [gone]}))


@pytest.mark.parametrize("how", HIDE)
def test_what_was_taken_away_is_not_shown_either_when_the_store_fails_at_once(
    served_shop: Lifeloop, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    _, text = keys.create(served_shop.store.kept, name="", roles=("admin",), at_us=1)
    app = create_app(served_shop)
    with TestClient(app, headers={"authorization": f"Bearer {text}"}) as client:
        gone = ids(by_path(client, "u0", k=4))[0]
        assert HIDE[how](client, gone).status_code in (200, 204)
        app.state.service.breaker.trip()  # as after a failure: nothing asks the store
        monkeypatch.setattr(ladder.Breaker, "open", True)
        for who, level in (("u0", "cached"), ("somebody", "popularity")):
            answer = by_path(client, who, k=100)
            assert answer.json()["level"] == level
            assert gone not in ids(answer)


@pytest.mark.parametrize("how", ["put", "patch", "put many", "patch many"])
def test_whoever_refuses_personal_slates_gets_none_that_was_kept_when_the_store_fails_at_once(
    served_shop: Lifeloop, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    _, text = keys.create(served_shop.store.kept, name="", roles=("admin",), at_us=1)
    app = create_app(served_shop)
    no = {"consent": {"personalisation": False}}
    with TestClient(app, headers={"authorization": f"Bearer {text}"}) as client:
        client.put("/v1/users/u0", json={})
        for who in ("u0", "u1"):
            assert by_path(client, who, k=4).json()["level"] == "full"
        method, _, many = how.partition(" ")
        if many:
            answer = client.request(method, "/v1/users", json=[{"user_id": "u0", **no}])
        else:
            answer = client.request(method, "/v1/users/u0", json=no)
        assert answer.status_code == 200, answer.text
        monkeypatch.setattr(ladder.Breaker, "open", True)
        assert by_path(client, "u0", k=4).json()["level"] == "popularity"
        assert by_path(client, "u1", k=4).json()["level"] == "cached"


# ---------------------------------------------------------------- S3


def test_every_kind_of_slate_sees_one_bundle_while_the_model_changes(
    asking: Asking, served_shop: Lifeloop
) -> None:
    client = asking("operate")
    old = served_shop.store.active_bundle()
    # the new bundle knows an item more and one less
    client.put("/v1/items/tea-9", json={"title": "tea number 9", "categories": ["tea"]})
    new = str(served_shop.train()["bundle"])
    known = {bundle: set(served_shop.model(bundle).catalogue.ix) for bundle in (str(old), new)}
    assert known[new] - known[str(old)] == {"tea-9"}
    candidates = ["tea-9", "tea-1", "tea-2", "nothing"]
    answers: list[Any] = []
    done = threading.Event()

    def ask(make: Callable[[], Any]) -> None:
        while not done.is_set():
            answers.append(make())

    makes: list[Callable[[], Any]] = [
        *(lambda ask=ask: ask(client, "u1", k=5) for ask in SLATES),
        lambda: client.post("/v1/rerank", json={"user_id": "u1", "candidates": candidates}),
        lambda: client.get("/v1/items/tea-1/similar", params={"k": 5}),
    ]
    threads = [threading.Thread(target=ask, args=(make,)) for make in makes]
    for thread in threads:
        thread.start()
    for bundle in (old, new) * 5:
        assert client.post(f"/v1/models/{bundle}/activate").status_code == 200
    done.set()
    for thread in threads:
        thread.join()
    assert len(answers) > len(makes)
    for answer in answers:
        assert answer.status_code == 200, answer.text
        told = answer.json()
        rows = told.get("recommendations", told.get("items"))
        (bundle,) = {row["bundle"] for row in rows}
        assert {row["item_id"] for row in rows} <= known[bundle]
        if "unknown" in told:
            assert set(told["unknown"]) == set(candidates) - known[bundle]


# ---------------------------------------------------------------- S4


def _now(**shift: float) -> str:
    return (datetime.now(tz=UTC) + timedelta(**shift)).isoformat()


TIMES: dict[str, Callable[[], dict[str, Any]]] = {
    "none": dict,
    "now": lambda: {"occurred_at": _now()},
    "cut to the second": lambda: {"occurred_at": _now()[:19] + "Z"},
    "of a clock that is late": lambda: {"occurred_at": _now(seconds=-90)},
    "of a clock that is early": lambda: {"occurred_at": _now(seconds=3)},
}


@pytest.mark.parametrize("when", TIMES)
@pytest.mark.parametrize("who", ["u0", "new/1", "anon:visitor"])
@pytest.mark.parametrize("in_batch", [False, True])
def test_a_click_counts_in_the_next_request_whatever_its_clock_says(
    asking: Asking, when: str, who: str, in_batch: bool
) -> None:
    client = asking("operate")
    path = who.replace("/", "%2F")
    named = (
        {"anonymous_id": who.removeprefix("anon:")} if who.startswith("anon:") else {"user_id": who}
    )
    before = client.get(URL.format(path), params={"k": 100}).json()
    row = {**named, "type": "view", "item_id": "rope-1", **TIMES[when]()}
    rows = [{"user_id": "else", "type": "view", "item_id": "tea-1"}] * 20 + [row]
    answer = client.post("/v1/events", json=rows if in_batch else row)
    assert answer.json()["rejected"] == 0, answer.text
    after = client.get(URL.format(path), params={"k": 100}).json()

    def score(told: Any, topic: str) -> float:
        return float(
            sum(r["score"] for r in told["recommendations"] if r["item_id"].startswith(topic))
        )

    gained = {topic: score(after, topic) - score(before, topic) for topic in TOPICS}
    if who == "u0":  # has a history of tea
        assert gained["rope"] > 0
        assert gained["rope"] > max(gained["tea"], gained["lamp"])
    else:
        assert after["recommendations"][0]["item_id"].startswith("rope")


# ---------------------------------------------------------------- S5 and S9


def _items(loop: Lifeloop, folder: Path) -> None:
    pl.DataFrame({"item_id": ["a", "b"]}).write_csv(folder / "items.csv")
    loop.import_items(folder / "items.csv")


def _users(loop: Lifeloop, folder: Path) -> None:
    pl.DataFrame({"user_id": ["ada"], "city": ["Bath"]}).write_csv(folder / "users.csv")
    loop.import_users(folder / "users.csv")


def _events(loop: Lifeloop, folder: Path) -> None:
    """Bare events: no items, no titles, no values."""
    for n in range(40):
        loop.record({"user_id": f"u{n % 8}", "type": "view", "item_id": f"i{n % 5}"})


EMPTY: dict[str, Callable[[Lifeloop, Path], None]] = {
    "nothing": lambda loop, folder: None,
    "items only": _items,
    "users only": _users,
    "bare events": _events,
}


@pytest.fixture(params=EMPTY)
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, TestClient, Any]]:
    """A fresh install in which some tables are empty, its name, and its store."""
    with Lifeloop.open(tmp_path / "shop", scenario=SETTINGS) as loop:
        EMPTY[request.param](loop, tmp_path)
        _, text = keys.create(loop.store.kept, name="", roles=("admin",), at_us=1)
        headers = {"authorization": f"Bearer {text}"}
        with TestClient(create_app(loop), headers=headers) as client:
            yield request.param, client, loop


def test_a_fresh_install_answers_every_slate_and_says_what_is_missing(
    fresh: tuple[str, TestClient, Any],
) -> None:
    name, client, loop = fresh
    for who in ("ada", "anon:visitor"):
        for ask in SLATES:
            answer = ask(client, who, k=5)
            expected = {"a", "b"} if name == "items only" else set()
            assert set(ids(answer)) == expected
            assert answer.json()["fallback"] == "no_model"
            assert "lifeloop train" in answer.json()["shortfall"]
    ranked = client.post("/v1/rerank", json={"user_id": "ada", "candidates": ["b", "zzz"]})
    assert ids(ranked) == (["b"] if name == "items only" else [])
    near = client.get("/v1/items/a/similar")
    assert near.status_code == 409
    assert "lifeloop train" in near.json()["next"]
    if name == "bare events":  # nothing is known of the items, and it trains and serves
        loop.train()
        assert set(ids(by_path(client, "u1", k=5))) <= {f"i{n}" for n in range(5)}
        assert by_path(client, "u1", k=5).json()["level"] == "full"
        assert ids(by_path(client, "nobody", k=3))


def test_a_fresh_install_has_no_route_that_fails(fresh: tuple[str, TestClient, Any]) -> None:
    _, client, _ = fresh
    app: Any = client.app
    document = client.get("/openapi.json").json()
    seen = 0
    for path, operations in document["paths"].items():
        if "get" not in operations or path == "/v1/train/{job}/events":
            continue
        for name in ("item_id", "user_id", "bundle", "job"):
            path = path.replace("{" + name + "}", "nobody")
        named = [path]
        if "{name}" in path:
            listed = [row["name"] for row in client.get("/v1/lifecycle").json()["tables"]]
            named = [path.replace("{name}", table) for table in listed]
        for one in named:
            answer = client.get(one)
            seen += 1
            assert answer.status_code in (200, 404, 409), (one, answer.text)
            if answer.status_code != 200:
                assert answer.json()["next"], one
            elif one.startswith("/v1/lifecycle/") and not answer.json()["rows"]:
                assert answer.json()["reason"], one
    assert seen > 35
    assert app.state.service.loop.live.refused == {}


# ---------------------------------------------------------------- S8


TRICKS = ("{}/", "/{}", "{}?key=x", "{}%00", "{}/..", "{}/%2e%2e", "{};x", "{}#x", "{}%2f")


def test_no_way_of_writing_a_path_or_a_method_goes_past_the_keys(asking: Asking) -> None:
    stranger = asking()
    app: Any = stranger.app
    app.state.service.refusals = rates.Buckets(per_s=1e6, burst=1e6)
    paths = {str(getattr(route, "path", "")).replace(":id", "") for route in app.routes}
    guarded = [p for p in paths if p not in OPEN and not p.startswith(PAGES)]
    assert len(guarded) >= 20
    for path in guarded:
        for name in ("item_id", "user_id", "bundle", "job", "name"):
            path = path.replace("{" + name + "}", "x")
        for written in (path, path.upper(), *(trick.format(path) for trick in TRICKS)):
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"):
                answer = stranger.request(method, f"http://testserver{written}")
                assert answer.status_code == 401, (method, written, answer.status_code)
            answer = stranger.options(f"http://testserver{written}")
            assert answer.status_code in (204, 400, 404, 405), (written, answer.status_code)
            assert not answer.content or answer.headers["content-type"] == MEDIA_TYPE
    pages = [str(getattr(route, "path", "")) for route in app.routes]
    pages = [p for p in pages if p.startswith(PAGES[0]) and "static" not in p]
    assert len(pages) >= 15
    for page in pages:
        for name in ("name", "user_id", "item_id", "bundle", "stage", "job"):
            page = page.replace("{" + name + "}", "x").replace("{" + name + ":id}", "x")
        for cookie in ("", "lifeloop_session=nonsense"):
            answer = stranger.get(page, headers={"cookie": cookie}, follow_redirects=False)
            assert answer.status_code == 303, page
            assert answer.headers["location"].startswith("/login")


# ---------------------------------------------------------------- S10


def test_what_a_process_remembers_is_bounded_whoever_asks(
    served_shop: Lifeloop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_SHOWN_KEPT", 20)
    monkeypatch.setattr("lifeloop.live._ITEMS_KEPT", 6)
    monkeypatch.setattr(rates, "_BUCKETS", 15)
    monkeypatch.setattr("lifeloop.wishes._KEPT_MASKS", 4)
    limits = ServeSettings(cached_slates=10, refusals_per_s=1e6, requests_per_s=1e6, burst=1e6)
    _, text = keys.create(served_shop.store.kept, name="", roles=("admin",), at_us=1)
    app = create_app(served_shop, settings=limits)
    held = app.state.service
    with TestClient(app, headers={"authorization": f"Bearer {text}"}) as client:

        def people(prefix: str) -> int:
            for n in range(40):
                client.get(URL.format(f"{prefix}{n}"), params={"where": f"brand:{prefix}{n}"})
                client.get(URL.format(f"{prefix}{n}"))
                client.request(f"{prefix.upper()}{n}", f"/v1/{prefix}{n}")
                held.refusals.wait_s(f"{prefix}{n}", now_s=0.0)
                client.get("/v1/models", headers={"x-request-id": f"{prefix}-{n}-0123"})
            return len(held.metrics.text())

        first, second = people("some"), people("other")
        assert second < first * 1.02  # not a counter per person, path or made-up method
    assert len(held._ladder._last) <= 10
    assert len(held._shown) <= 20
    assert len(held.refusals._held) <= 15
    assert len(served_shop.live._items) <= 6
    assert len(served_shop.facts._masks) <= 4


def test_months_of_events_of_one_person_do_not_make_the_answer_larger(
    asking: Asking, served_shop: Lifeloop
) -> None:
    client = asking("operate")
    sizes = []
    for months in (1, 6):
        rows = [
            {
                "user_id": f"busy-{months}",
                "type": "view",
                "item_id": f"{TOPICS[n % 3]}-{n % 8}",
                "occurred_at": f"2026-{1 + n % months:02}-{1 + n % 28:02}T{n % 24:02}:00:00Z",
                "event_id": f"{months}-{n}",
            }
            for n in range(1500 * months)
        ]
        for start in range(0, len(rows), 3000):
            assert client.post("/v1/events", json=rows[start : start + 3000]).status_code == 202
        answer = client.get(URL.format(f"busy-{months}"), params={"k": 5})
        assert answer.json()["level"] == "full"
        (decision,) = served_shop.store.decided([answer.json()["request_id"]])
        assert decision is not None
        sizes.append(len(answer.content))
    assert sizes[1] < 1.2 * sizes[0]


def test_a_store_that_fails_while_items_are_followed_refuses_nothing_that_was_stored(
    served_shop: Lifeloop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text = keys.create(served_shop.store.kept, name="", roles=("admin",), at_us=1)
    app = create_app(served_shop)
    with TestClient(app, headers={"authorization": f"Bearer {text}"}) as client:
        client.get(URL.format("u0"))

        def gone() -> Any:
            raise StoreError("gone")

        monkeypatch.setattr(served_shop.store, "head", gone)
        answer = client.patch("/v1/items/tea-1", json={"stock": 0})
        assert answer.status_code == 200
        assert app.state.service.breaker.open
