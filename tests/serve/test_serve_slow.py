"""A disk that is slow and a clock that steps: nothing is lost, and nothing stops."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from lifeloop import Lifeloop
from lifeloop.serve import ServeSettings, create_app, keys

HOUR_US = 3_600_000_000
URL = "/v1/users/{}/recommendations?k=4"


@pytest.fixture
def client(served_shop: Lifeloop) -> Iterator[TestClient]:
    _, text = keys.create(served_shop.store.kept, name="", roles=("admin",), at_us=1)
    app = create_app(served_shop, settings=ServeSettings(key_cache_s=0))
    with TestClient(app, headers={"authorization": f"Bearer {text}"}) as made:
        yield made


@pytest.mark.parametrize("steps", [(-1, 2, -30, 24), (24, -24, -1, 0), (0, 0, -8760, 8760)])
def test_a_clock_that_steps_loses_nothing_and_stops_nothing(
    client: TestClient, served_shop: Lifeloop, steps: tuple[int, ...]
) -> None:
    now = [served_shop.clock()]
    served_shop.clock = lambda: now[0]
    n = 0
    for hours in steps:
        now[0] += hours * HOUR_US
        n += 1
        row: dict[str, Any] = {
            "event_id": f"e{n}",
            "user_id": "ann",
            "type": "purchase",
            "item_id": f"rope-{n}",
        }
        row |= {"order_id": f"x{n}", "value": 2}
        for expected in ("accepted", "duplicate"):  # an answer that was lost is sent again
            answer = client.post("/v1/events", json=row)
            assert answer.status_code == 202
            assert answer.json()[expected] == 1, answer.text
        assert len(served_shop.store.histories(["ann"])[0]) == n
        page = client.get(URL.format("ann")).json()
        assert page["level"] == "full"
        assert page["recommendations"]
        assert all("rope" in row["item_id"] for row in page["recommendations"][:2])  # it is known
        shown = {row["item_id"] for row in page["recommendations"]}
        on = client.get(URL.format("ann"), params={"cursor": page["cursor"]}).json()
        assert shown.isdisjoint(row["item_id"] for row in on["recommendations"])
    seqs = served_shop.store.histories(["ann"])[0].seq
    assert len(set(seqs.tolist())) == n


class Slow:
    """A store whose disk takes its time when events are written."""

    def __init__(self, inner: Any, wait_s: float) -> None:
        self._inner = inner
        self._wait_s = wait_s

    def __getattr__(self, name: str) -> Any:
        held = getattr(self._inner, name)
        if name != "append":
            return held

        def slowly(*given: Any, **named: Any) -> Any:
            time.sleep(self._wait_s)
            return held(*given, **named)

        return slowly


def test_slates_do_not_wait_for_a_slow_disk_that_events_wait_for(
    client: TestClient, served_shop: Lifeloop
) -> None:
    inner = served_shop.store
    client.get(URL.format("u0"))  # opens the model
    served_shop.store = Slow(inner, 1.0)
    answers: list[int] = []

    def send(n: int) -> None:
        rows = [
            {"event_id": f"s{n}-{i}", "user_id": "slow", "type": "view", "item_id": "tea-1"}
            for i in range(5)
        ]
        answers.append(client.post("/v1/events", json=rows).status_code)

    senders = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for one in senders:
        one.start()
    time.sleep(0.1)
    started = time.monotonic()
    slates = 0
    while any(one.is_alive() for one in senders):
        assert client.get(URL.format(f"u{slates % 9}")).json()["level"] == "full"
        slates += 1
    took_s = time.monotonic() - started
    for one in senders:
        one.join()
    served_shop.store = inner
    assert answers == [202] * 8
    assert len(inner.histories(["slow"])[0]) == 40
    assert took_s >= 1.0  # eight batches, four at a time, a second each
    assert slates >= 5, f"{slates} slates in {took_s:.1f} s"
