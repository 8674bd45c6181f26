"""Slates over REST: pages, filters, hidden items, hot swap, sessions, the caller's candidates."""

import threading
from typing import Any

import pytest
from starlette.testclient import TestClient

from lifeloop import Lifeloop
from lifeloop.serve import create_app, keys
from lifeloop.testing.served import SETTINGS, Asking, fill

URL = "/v1/users/{}/recommendations"


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["item_id"] for row in answer.json()["recommendations"]]


def test_pages_neither_repeat_nor_skip_whatever_happens_between_them(asking: Asking) -> None:
    client = asking("operate")
    everything = set(ids(client.get(URL.format("new"), params={"k": 100})))
    seen: list[str] = []
    cursor = None
    for page in range(20):
        params = {"k": 5, **({"cursor": cursor} if cursor else {})}
        answer = client.get(URL.format("new"), params=params)
        seen += ids(answer)
        cursor = answer.json()["cursor"]
        if cursor is None:
            break
        if page == 0:  # a click changes the order of everything that follows
            event = {"user_id": "new", "type": "view", "item_id": "lamp-7"}
            client.post("/v1/events", json=event)
    assert len(seen) == len(set(seen))
    assert set(seen) == everything


def test_what_was_bought_between_two_pages_does_not_come_back(asking: Asking) -> None:
    client = asking("operate")
    first = client.get(URL.format("u0"), params={"k": 3})
    rest = ids(client.get(URL.format("u0"), params={"k": 50}))
    bought = next(i for i in rest if i not in ids(first))
    client.post("/v1/events", json={"user_id": "u0", "type": "purchase", "item_id": bought})
    second = client.get(URL.format("u0"), params={"k": 50, "cursor": first.json()["cursor"]})
    assert bought not in ids(second)
    assert not set(ids(second)) & set(ids(first))


def test_a_cursor_of_somebody_else_or_of_nobody_is_refused(asking: Asking) -> None:
    client = asking("read")
    cursor = client.get(URL.format("u0"), params={"k": 2}).json()["cursor"]
    assert client.get(URL.format("u1"), params={"cursor": cursor}).status_code == 409
    for bad in ("x", "!!!!", "QUJD", "A" * 9000):
        assert client.get(URL.format("u0"), params={"cursor": bad}).status_code == 422


@pytest.mark.parametrize("how", ["delete", "sold out", "not yet", "over"])
def test_a_hidden_item_is_never_served_after_the_write_is_acknowledged(
    asking: Asking, how: str
) -> None:
    client = asking("operate")
    top = ids(client.get(URL.format("u0"), params={"k": 3}))[0]
    changes: dict[str, dict[str, Any]] = {
        "sold out": {"stock": 0},
        "not yet": {"available_from": "2090-01-01T00:00:00Z"},
        "over": {"available_until": "2020-01-01T00:00:00Z"},
    }
    if how == "delete":
        assert client.delete(f"/v1/items/{top}").status_code == 204
    else:
        assert client.patch(f"/v1/items/{top}", json=changes[how]).status_code == 200
    assert top not in ids(client.get(URL.format("u0"), params={"k": 100}))
    near = client.get(f"/v1/items/{top[:-1]}7/similar", params={"k": 50}).json()["items"]
    assert near
    assert top not in [row["item_id"] for row in near]
    ranked = client.post("/v1/rerank", json={"user_id": "u0", "candidates": [top, "tea-7"]})
    assert ids(ranked) == ["tea-7"]
    if how == "sold out":
        client.patch(f"/v1/items/{top}", json={"stock": 5})
        assert top in ids(client.get(URL.format("u0"), params={"k": 100}))


def test_filters_limit_a_slate_also_for_items_that_changed_since_training(asking: Asking) -> None:
    client = asking("operate")
    got = ids(client.get(URL.format("new"), params={"k": 50, "category": ["tea", "rope"]}))
    assert {i.split("-")[0] for i in got} == {"tea", "rope"}
    params: dict[str, Any] = {
        "k": 50,
        "category": "tea",
        "where": "brand:odd",
        "exclude": ["tea-1"],
    }
    assert set(ids(client.get(URL.format("new"), params=params))) == {"tea-3", "tea-5", "tea-7"}
    client.patch("/v1/items/lamp-0", json={"categories": ["tea"], "brand": "odd", "size": "XL"})
    assert "lamp-0" in ids(client.get(URL.format("new"), params=params))
    sized = ids(client.get(URL.format("new"), params={"where": "size:XL"}))
    assert sized == ["lamp-0"]
    none = client.get(URL.format("new"), params={"where": "brand:none"})
    assert ids(none) == []
    assert "of another brand" in none.json()["shortfall"]
    assert client.get(URL.format("new"), params={"where": "brand"}).status_code == 422


def test_a_session_is_answered_from_the_body_and_not_stored(
    asking: Asking, served_shop: Lifeloop
) -> None:
    before = served_shop.store.counts()["events"]
    history = [{"type": "view", "item_id": "rope-1"}, {"type": "view", "item_id": "rope-2"}]
    answer = asking("read").post("/v1/recommendations", json={"history": history, "k": 3})
    assert {i.split("-")[0] for i in ids(answer)} == {"rope"}
    assert served_shop.store.counts()["events"] == before
    bad = asking("read").post("/v1/recommendations", json={"history": [{"item_id": "x"}]})
    assert bad.status_code == 422
    assert "history[0]" in bad.text


def test_a_reranked_slate_is_logged_without_propensities(
    asking: Asking, served_shop: Lifeloop
) -> None:
    body = {"user_id": "u0", "candidates": ["rope-1", "tea-7", "unheard-of"], "surface": "search"}
    answer = asking("read").post("/v1/rerank", json=body)
    assert sorted(ids(answer)) == ["rope-1", "tea-7"]
    assert ids(answer)[0] == "tea-7"
    assert answer.json()["unknown"] == ["unheard-of"]
    (decision,) = served_shop.store.decided([answer.json()["request_id"]])
    assert decision is not None
    assert decision.propensities is None
    assert (decision.level, decision.surface) == ("rerank", "search")
    assert all(row["propensity"] is None for row in answer.json()["recommendations"])


def test_reasons_are_told_unless_nobody_wants_them(asking: Asking) -> None:
    client = asking("read")
    assert client.get(URL.format("u0")).json()["recommendations"][0]["reason"]["text"]
    told = client.get(URL.format("u0"), params={"why": False}).json()
    assert "reason" not in told["recommendations"][0]


def test_every_request_sees_one_bundle_while_the_model_changes(
    asking: Asking, served_shop: Lifeloop
) -> None:
    client = asking("operate")
    old = served_shop.store.active_bundle()
    new = str(served_shop.train()["bundle"])
    answers: list[dict[str, Any]] = []
    done = threading.Event()

    def ask(n: int) -> None:
        while not done.is_set():
            answer = client.get(URL.format(f"u{n}"), params={"k": 5})
            answers.append({"status": answer.status_code, **answer.json()})

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for bundle in (old, new) * 4:
        assert client.post(f"/v1/models/{bundle}/activate").status_code == 200
    done.set()
    for thread in threads:
        thread.join()
    assert answers
    assert {a["status"] for a in answers} == {200}
    for a in answers:
        assert {row["bundle"] for row in a["recommendations"]} == {a["bundle"]}
        assert len({row["item_id"] for row in a["recommendations"]}) == 5


def test_an_empty_system_answers_and_says_what_is_missing(tmp_path: Any) -> None:
    with Lifeloop.open(tmp_path / "empty", scenario=SETTINGS) as loop:
        _, text = keys.create(loop.store.kept, name="", roles=("admin",), at_us=1)
        headers = {"authorization": f"Bearer {text}"}
        with TestClient(create_app(loop), headers=headers) as client:
            answer = client.get(URL.format("anybody"))
            assert ids(answer) == []
            assert answer.json()["fallback"] == "no_model"
            assert "lifeloop train" in answer.json()["shortfall"]
            assert client.get("/readyz").json() == {"status": "ready", "model": False}
            assert client.get("/v1/items/x/similar").status_code == 409
            assert client.get("/v1/lifecycle").status_code == 200
            assert client.get("/v1/lifecycle/retention").json()["reason"]
            fill(loop, tmp_path)
            newest = client.get(URL.format("anybody"), params={"k": 4})
            assert ids(newest) == ["lamp-7", "lamp-6", "lamp-5", "lamp-4"]
            assert newest.json()["level"] == "newest"
            assert newest.json()["logged"]
