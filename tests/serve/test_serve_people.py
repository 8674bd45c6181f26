"""People over REST where addresses are hashed, leave for good, and types have an end."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lifeloop import Lifeloop
from lifeloop.serve import ServeSettings, create_app
from lifeloop.serve import keys as api_keys

ADA = "Ada@Example.org"


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Lifeloop]:
    scenario = {
        "name": "s",
        "extends": "ecommerce",
        "intake": {"emails": "hash", "max_event_types": 10},
    }
    with Lifeloop.open(tmp_path / "shop", scenario=scenario) as loop:
        yield loop


@pytest.fixture
def client(loop: Lifeloop) -> Iterator[TestClient]:
    _, text = api_keys.create(loop.store.kept, name="test", roles=("admin",), at_us=1)
    app = create_app(loop, settings=ServeSettings(key_cache_s=0))
    with TestClient(app, headers={"authorization": f"Bearer {text}"}) as made:
        yield made


def test_an_address_is_hashed_on_every_route_and_erased_by_itself(
    client: TestClient, loop: Lifeloop, tmp_path: Path
) -> None:
    hashed = loop.pseudonym(ADA)
    assert client.put(f"/v1/users/{ADA}", json={"channel": "ad"}).status_code == 201
    assert client.patch(f"/v1/users/{ADA}", json={"age": 36}).status_code == 200
    body = [{"user_id": ADA, "channel": "mail"}]
    assert client.patch("/v1/users", json=body).json()["accepted"] == 1
    assert client.post("/v1/events", json={"user_id": ADA, "type": "view"}).status_code == 202
    assert client.post("/v1/events", json={"anonymous_id": "a", "type": "view"}).status_code == 202
    linked = client.post("/v1/identify", json={"anonymous_id": "a", "user_id": ADA}).json()
    assert (linked["user_id"], linked["status"]) == (hashed, "linked")
    held = client.get(f"/v1/users/{ADA}").json()
    assert (held["user_id"], held["channel"]) == (hashed, "mail")
    assert client.get(f"/v1/users/{hashed}").json() == held
    assert client.get(f"/v1/users/{ADA}/lifecycle").json()["user_id"] == hashed
    slate = client.get(f"/v1/users/{ADA}/recommendations").json()
    assert slate["user_id"] == hashed
    assert len(client.get(f"/v1/users/{ADA}/export").json()["events"]) == 2
    loop.store.backup(tmp_path / "b.zip")  # all of it is in here, and nowhere in the clear
    assert ADA.encode() not in b"".join(p.read_bytes() for p in (tmp_path / "shop").glob("*.db*"))
    report = client.delete(f"/v1/users/{ADA}").json()
    assert (report["events"], report["links"], report["profiles"]) == (2, 1, 3)
    again = client.post("/v1/events", json={"user_id": ADA, "type": "view"})
    assert again.status_code == 422
    assert again.json()["results"] == [{"status": "rejected", "reason": "erased"}]
    assert (
        client.post("/v1/identify", json={"anonymous_id": "b", "user_id": ADA}).status_code == 409
    )


def test_types_without_end_are_refused_and_told_row_by_row(client: TestClient) -> None:
    rows = [{"user_id": "u", "type": f"type-{n}"} for n in range(1_000)]
    told = client.post("/v1/events", json=rows).json()
    assert (told["accepted"], told["rejected"]) == (10, 990)
    assert told["results"][-1] == {"status": "rejected", "reason": "too_many_types"}
    one = client.post("/v1/events", json={"user_id": "u", "type": "one-more"})
    assert one.status_code == 422
    assert client.post("/v1/events", json={"user_id": "u", "type": "type-3"}).status_code == 202
