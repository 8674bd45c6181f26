"""The client against the real application, and against a network that fails."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from lifeloop import Lifeloop
from lifeloop.client import AsyncClient, Call, Client, Patience, calls
from lifeloop.errors import ServiceRefused, ServiceUnreachable
from lifeloop.serve import create_app, keys
from lifeloop.testing.served import Asking

QUICK = Patience(tries=4, first_s=0.001, longest_s=0.002)
Answer = Callable[[httpx.Request], httpx.Response]


class Through(httpx.BaseTransport):
    """Hands requests to a test client of the application, with their path as it was sent."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        got = self.inner.request(
            request.method,
            request.url.raw_path.decode(),
            content=request.content,
            headers=list(request.headers.items()),
        )
        return httpx.Response(got.status_code, headers=got.headers, content=got.content)


@pytest.fixture
def client(asking: Asking) -> Iterator[Client]:
    inner = asking("admin")
    key = inner.headers["authorization"].removeprefix("Bearer ")
    with Client("http://served", key=key, transport=Through(inner), patience=QUICK) as made:
        yield made


def test_a_whole_walk_with_types(client: Client) -> None:
    sent = client.ask(calls.send([{"user_id": "a/b", "type": "view", "item_id": "rope-1"}] * 300))
    assert (sent.accepted, sent.duplicate, len(sent.results)) == (300, 0, 300)
    slate = client.ask(calls.recommend("a/b", k=3, where={"category": "rope"}))
    assert [row.item_id.split("-")[0] for row in slate.recommendations] == ["rope"] * 3
    page = client.ask(calls.recommend("a/b", k=3, cursor=slate.cursor))
    first = {row.item_id for row in slate.recommendations}
    assert first.isdisjoint(row.item_id for row in page.recommendations)
    assert (
        client.ask(calls.rerank("a/b", ["tea-1", "rope-2"])).recommendations[0].item_id == "rope-2"
    )
    session = client.ask(calls.recommend_session([{"type": "view", "item_id": "tea-1"}], k=2))
    assert {row.item_id.split("-")[0] for row in session.recommendations} == {"tea"}
    assert client.ask(calls.put_item("x/../y", {"title": "dots"}))["item_id"] == "x/../y"
    assert client.ask(calls.get_item("x/../y"))["title"] == "dots"
    assert client.ask(calls.patch_item("x/../y", {"price": 2}))["price"] == 2.0
    client.ask(calls.delete_item("x/../y"))
    with pytest.raises(ServiceRefused, match="no such item") as refused:
        client.ask(calls.get_item("x/../y"))
    assert refused.value.status == 404
    assert client.ask(calls.put_items([{"item_id": "n1"}, {"item_id": "n2"}])).accepted == 2
    assert client.ask(calls.put_users([{"user_id": "p"}])).accepted == 1
    assert client.ask(calls.put_user("p", {"channel": "ad"}))["channel"] == "ad"
    assert client.ask(calls.identify("visitor-77", "p"))["status"] == "linked"
    assert client.ask(calls.lifecycle("u0"))["user_id"] == "u0"
    assert client.ask(calls.table("active_users", grain="week"))["name"] == "active_users"
    assert client.ask(calls.similar("tea-1", k=2))["items"]
    bundle = client.ask(calls.models())["models"][0]["bundle"]
    assert client.ask(calls.activate(bundle)) == {"active": bundle}


def test_many_records_are_changed_and_removed_at_once(client: Client) -> None:
    client.ask(calls.put_items([{"item_id": "n1", "title": "one", "price": 2}, {"item_id": "n2"}]))
    changed = client.ask(calls.patch_items([{"item_id": "n1", "price": 3}, {"title": "no id"}]))
    assert (changed.accepted, changed.rejected) == (1, 1)
    assert [(row.item_id, row.status) for row in changed.results] == [
        ("n1", "accepted"),
        (None, "rejected"),
    ]
    held = client.ask(calls.get_item("n1"))
    assert (held["title"], held["price"]) == ("one", 3.0)
    client.ask(calls.patch_items([{"item_id": "n1", "price": None}]))
    assert client.ask(calls.get_item("n1")).get("price") is None
    gone = client.ask(calls.remove_items(["n1", "nothing", "n2"]))
    assert (gone.removed, gone.missing) == (2, ["nothing"])
    assert [row.status for row in gone.results] == ["removed", "missing", "removed"]
    with pytest.raises(ServiceRefused, match="no such item"):
        client.ask(calls.get_item("n1"))
    client.ask(calls.put_users([{"user_id": "p", "channel": "ad", "attributes": {"city": "Ulm"}}]))
    changed = client.ask(calls.patch_users([{"user_id": "p", "channel": "shop"}]))
    assert [(row.user_id, row.status) for row in changed.results] == [("p", "accepted")]
    told = client.ask(calls.put_user("p", {"channel": "shop", "attributes": {"city": "Ulm"}}))
    assert told["channel"] == "shop"
    assert client.ask(calls.patch_users([{"user_id": "p", "channel": "shop"}])).duplicate == 1


def test_going_back_to_the_bundle_before_is_asked_for_once(
    served_shop: Lifeloop, client: Client
) -> None:
    (first,) = [row["bundle"] for row in client.ask(calls.models())["models"]]
    with pytest.raises(ServiceRefused) as refused:
        client.ask(calls.rollback())
    assert refused.value.status == 409
    second = str(served_shop.train()["bundle"])
    assert client.ask(calls.recommend("u0", k=2)).bundle == second
    assert client.ask(calls.rollback()) == {"active": first}
    assert client.ask(calls.recommend("u0", k=2)).bundle == first
    assert not calls.rollback().repeatable


def test_calls_name_routes_that_the_document_has(client: Client) -> None:
    document: Any = client.ask(Call[Any]("GET", "/openapi.json", dict))
    made = {
        (c.method, c.path)
        for c in (
            calls.send([]),
            calls.recommend("{user_id}"),
            calls.rerank("x", ["y"]),
            calls.identify("a", "b"),
            calls.models(),
            calls.train(),
            calls.put_items([]),
            calls.put_users([]),
            calls.patch_items([]),
            calls.remove_items([]),
            calls.patch_users([]),
            calls.rollback(),
        )
    }
    for method, path in made:
        assert method.lower() in document["paths"][path]


def lost(answers: list[Any]) -> tuple[Answer, list[httpx.Request]]:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        given = answers[len(seen) - 1]
        if isinstance(given, Exception):
            raise given
        return httpx.Response(given[0], json=given[1], headers=given[2] if len(given) > 2 else {})

    return answer, seen


WRITTEN = {"accepted": 1, "duplicate": 0, "rejected": 0, "results": []}


def test_a_lost_answer_is_asked_for_again_with_the_same_event() -> None:
    answer, seen = lost([httpx.ReadError("cut"), (503, {"title": "down"}), (202, WRITTEN)])
    with Client("http://x", key="k", patience=QUICK, transport=httpx.MockTransport(answer)) as made:
        assert made.ask(calls.send([{"user_id": "a", "type": "view"}])).accepted == 1
    bodies = [json.loads(request.content) for request in seen]
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0][0]["event_id"]
    assert bodies[0][0]["occurred_at"]


def test_what_may_have_happened_once_is_not_repeated_unless_twice_is_once() -> None:
    answer, seen = lost([httpx.ReadError("cut")])
    with (
        Client("http://x", key="k", patience=QUICK, transport=httpx.MockTransport(answer)) as made,
        pytest.raises(ServiceUnreachable, match="did not answer"),
    ):
        made.ask(calls.train())
    assert len(seen) == 1


def test_a_refusal_is_told_at_once_with_what_to_do() -> None:
    problem = {"title": "too deep", "next": "flatten it", "allowed": "24 levels"}
    answer, seen = lost([(400, problem)])
    with (
        Client("http://x", key="k", patience=QUICK, transport=httpx.MockTransport(answer)) as made,
        pytest.raises(ServiceRefused, match=r"too deep.*24 levels.*flatten it"),
    ):
        made.ask(calls.models())
    assert len(seen) == 1


def test_patience_ends() -> None:
    answer, seen = lost([(503, {"title": "down"})] * 4)
    with (
        Client("http://x", key="k", patience=QUICK, transport=httpx.MockTransport(answer)) as made,
        pytest.raises(ServiceRefused) as refused,
    ):
        made.ask(calls.models())
    assert (refused.value.status, len(seen)) == (503, 4)


def test_the_awaited_client_does_the_same(served_shop: Lifeloop) -> None:
    _, key = keys.create(served_shop.store.kept, name="", roles=("admin",), at_us=1)
    app = create_app(served_shop)

    async def walk() -> None:
        transport = httpx.ASGITransport(app=app)
        async with AsyncClient("http://x", key=key, transport=transport) as made:
            slate = await made.ask(calls.recommend("u0", k=2))
            assert len(slate.recommendations) == 2
            with pytest.raises(ServiceRefused, match="no such item"):
                await made.ask(calls.get_item("nothing"))
            assert (await made.ask(calls.patch_items([{"item_id": "tea-1"}]))).duplicate == 1
            assert (await made.ask(calls.patch_users([{"user_id": "u0"}]))).accepted == 1
            assert (await made.ask(calls.remove_items(["tea-1"]))).removed == 1
            with pytest.raises(ServiceRefused, match="no earlier bundle"):
                await made.ask(calls.rollback())

    asyncio.run(walk())
    answer, seen = lost([(429, {}, {"retry-after": "0"}), (200, {"models": []})])

    async def wait() -> None:
        transport = httpx.MockTransport(answer)
        async with AsyncClient("http://x", key=key, patience=QUICK, transport=transport) as made:
            assert await made.ask(calls.models()) == {"models": []}

    asyncio.run(wait())
    assert len(seen) == 2
