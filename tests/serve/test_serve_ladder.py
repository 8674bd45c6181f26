"""When something fails: what is answered, what is kept, and what is never lost."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lifeloop import Lifeloop
from lifeloop.contracts import Decision
from lifeloop.errors import StoreError, StoreFull
from lifeloop.models.blended import FittedBlend
from lifeloop.models.rank.reranked import FittedRanked
from lifeloop.serve import ServeSettings, create_app, keys
from lifeloop.serve.spool import Spool

URL = "/v1/users/{}/recommendations"


class Faulty:
    """A store that fails while ``error`` is set; everything else goes through."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        held = getattr(self.inner, name)
        if not callable(held):
            if self.error is not None:
                raise self.error
            return held

        def call(*given: Any, **named: Any) -> Any:
            if self.error is not None:
                raise self.error
            return held(*given, **named)

        return call


@pytest.fixture
def broken(served_shop: Lifeloop) -> Iterator[tuple[TestClient, Faulty, Lifeloop]]:
    _, text = keys.create(served_shop.store.kept, name="", roles=("admin",), at_us=1)
    store = Faulty(served_shop.store)
    served_shop.store = store
    settings = ServeSettings(key_cache_s=0, breaker_s=0)
    headers = {"authorization": f"Bearer {text}"}
    with TestClient(
        create_app(served_shop, settings=settings), headers=headers, raise_server_exceptions=False
    ) as client:
        yield client, store, served_shop
    served_shop.store = store.inner


Broken = tuple[TestClient, Faulty, Lifeloop]


def test_slates_go_on_without_the_store_and_their_decisions_are_replayed(broken: Broken) -> None:
    client, store, loop = broken
    full = client.get(URL.format("u0"), params={"k": 4}).json()
    assert full["level"] == "full"
    store.error = StoreError("the server is gone")
    cached = client.get(URL.format("u0"), params={"k": 4}).json()
    assert cached["level"] == "cached"
    shown = [row["item_id"] for row in full["recommendations"]]
    assert [row["item_id"] for row in cached["recommendations"]] == shown
    popular = client.get(URL.format("somebody"), params={"k": 4}).json()
    assert popular["level"] == "popularity"
    for told in (cached, popular):
        assert told["logged"] is True
        assert all(row["propensity"] is None for row in told["recommendations"])
    assert len(list((loop.home / "spool").glob("*.jsonl"))) == 1
    store.error = None
    service: Any = client.app.state.service  # type: ignore[attr-defined]
    service.replay()
    service.replay()
    kept = store.inner.decided([cached["request_id"], popular["request_id"]])
    assert [d.level for d in kept] == ["cached", "popularity"]
    assert [d.propensities for d in kept] == [None, None]
    assert list((loop.home / "spool").glob("*.jsonl")) == []


@pytest.mark.parametrize(
    ("error", "status"), [(StoreError("gone"), 503), (StoreFull("no space left"), 507)]
)
def test_events_are_refused_and_never_accepted_and_lost(
    broken: Broken, error: Exception, status: int
) -> None:
    client, store, _ = broken
    before = store.inner.counts()["events"]
    store.error = error
    refused = client.post("/v1/events", json={"user_id": "u0", "type": "view"})
    assert refused.status_code == status
    assert int(refused.headers["retry-after"]) >= 1
    assert client.get("/readyz").status_code == 503
    store.error = None
    assert store.inner.counts()["events"] == before
    assert client.post("/v1/events", json={"user_id": "u0", "type": "view"}).status_code == 202


def test_a_slate_that_nobody_could_write_down_has_no_propensities(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, store, _ = broken
    monkeypatch.setattr(Spool, "add", lambda *_: False)
    monkeypatch.setattr(
        store.inner, "log_decision", lambda _: (_ for _ in ()).throw(StoreFull("full"))
    )
    told = client.get(URL.format("u0"), params={"k": 3}).json()
    assert told["level"] == "full"
    assert told["logged"] is False
    assert told["cursor"] is None
    assert [row["propensity"] for row in told["recommendations"]] == [None] * 3


def test_a_model_that_fails_is_stood_in_for(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _, loop = broken
    assert client.get(URL.format("u0")).status_code == 200
    current = loop.live.last
    assert current is not None
    monkeypatch.setattr(
        type(current.model.blend), "scored", lambda *_: (_ for _ in ()).throw(RuntimeError("nan"))
    )
    told = client.get(URL.format("newcomer"), params={"k": 3})
    assert told.json()["level"] == "popularity"
    assert len(told.json()["recommendations"]) == 3


def test_a_ranker_that_fails_leaves_the_order_to_the_blend(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, store, loop = broken
    plain = client.get(URL.format("u0"), params={"k": 4}).json()
    current = loop.live.last
    assert current is not None
    assert isinstance(current.model.blend, FittedBlend)
    blend = current.model.blend
    broken_part: Any = object()  # that no request can be ordered by
    ranked = FittedRanked(
        name="ranked", blend=blend, booster=broken_part, facts=broken_part, repeats=False
    )
    loop.live.put(replace(current.model, blend=ranked))
    told = client.get(URL.format("u0"), params={"k": 4}).json()
    assert told["level"] == "no_ranker"
    assert [r["item_id"] for r in told["recommendations"]] == [
        r["item_id"] for r in plain["recommendations"]
    ]
    assert all(row["propensity"] is None for row in told["recommendations"])
    (kept,) = store.inner.decided([told["request_id"]])
    assert (kept.level, kept.propensities) == ("no_ranker", None)


def test_a_poisoned_bundle_leaves_the_one_before_in_place(broken: Broken) -> None:
    client, store, loop = broken
    good = client.get(URL.format("u0")).json()["bundle"]
    bad = str(loop.train()["bundle"])
    for path in (loop.home / "bundles" / bad).rglob("*.npy"):
        path.write_bytes(b"\0" * 64)
    refused = client.post(f"/v1/models/{bad}/activate")
    assert refused.status_code == 409
    told = client.get(URL.format("u0"))
    assert told.status_code == 200
    assert (told.json()["bundle"], told.json()["level"]) == (good, "full")
    listed = {m["bundle"]: m["trouble"] for m in client.get("/v1/models").json()["models"]}
    assert listed[good] is None
    assert listed[bad]
    assert store.error is None


def decision(request_id: str) -> Decision:
    return Decision(
        request_id=request_id,
        user_id="u",
        t_us=1,
        surface="s",
        bundle=None,
        seq=0,
        stage=None,
        policy={},
        rng_seed=1,
        candidate_ids=("a",),
        candidate_scores=(1.0,),
        slate_ids=("a",),
        propensities=None,
        level="cached",
    )


def test_a_spool_survives_its_process_and_the_half_line_of_a_crash(tmp_path: Path) -> None:
    first = Spool(tmp_path)
    assert first.add(decision("one"))
    assert first.add(decision("two"))
    (path,) = tmp_path.glob("*.jsonl")
    other = Spool(tmp_path)
    taken: list[Decision] = []
    assert other.replay(taken.append) == 0  # its process lives: hands off
    first.close()
    with path.open("ab") as file:
        file.write(json.dumps({"request_id": "three"}).encode()[:-4])
    assert other.replay(taken.append) == 2
    assert [d.request_id for d in taken] == ["one", "two"]
    assert taken[0] == decision("one")
    assert not path.exists()


def test_a_replay_that_fails_half_way_keeps_everything(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for name in ("one", "two"):
        spool.add(decision(name))
    taken: list[str] = []

    def log(given: Decision) -> None:
        if given.request_id == "two" and len(taken) == 1:
            taken.append("failed")
            raise StoreError("gone again")
        taken.append(given.request_id)

    with pytest.raises(StoreError):
        spool.replay(log)
    assert spool.add(decision("three"))
    assert spool.replay(log) == 3
    assert taken == ["one", "failed", "one", "two", "three"]
