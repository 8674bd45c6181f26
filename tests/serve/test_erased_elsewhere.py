"""Somebody erased by one process is forgotten by every other one, at its next request."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lifeloop import Lifeloop
from lifeloop.errors import StoreError
from lifeloop.serve import ServeSettings, create_app
from lifeloop.serve import keys as api_keys
from lifeloop.serve.ladder import Asked
from lifeloop.testing.postgres import own_schema, postgres_server

KINDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.extras)]
SCENARIO = {"name": "s", "extends": "ecommerce", "models": {"text_encoder": "tfidf"}}


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, object]]:
    """The settings of a shop whose processes share one store."""
    if request.param == "sqlite":
        yield {**SCENARIO, "url": f"sqlite:///{tmp_path / 's.db'}"}
        return
    with postgres_server() as server, own_schema(server) as url:
        yield {**SCENARIO, "url": url}


@pytest.fixture
def both(where: dict[str, object], tmp_path: Path) -> Iterator[tuple[Lifeloop, Lifeloop]]:
    """Two processes' view of one trained shop."""
    with Lifeloop.open(tmp_path / "shop", scenario=where) as one:
        for n in range(60):
            one.record({"user_id": f"u{n % 9}", "type": "purchase", "item_id": f"i{n % 13}"})
        one.record({"user_id": "ada", "type": "view", "item_id": "i1"})
        one.train()
        with Lifeloop.open(tmp_path / "shop", scenario=where) as two:
            yield one, two


def test_slates_and_tables_of_another_process_forget_who_was_erased(
    both: tuple[Lifeloop, Lifeloop], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = both
    _, text = api_keys.create(two.store.kept, name="test", roles=("admin",), at_us=1)
    app = create_app(two, settings=ServeSettings(key_cache_s=60))
    with TestClient(app, headers={"authorization": f"Bearer {text}"}) as client:

        def level(person: str) -> str:
            return str(client.get(f"/v1/users/{person}/recommendations").json()["level"])

        def stands() -> set[str]:
            return set(app.state.desk.stages()["user_id"])

        assert level("ada") == level("u1") == "full"
        assert "ada" in stands()
        before = two.store.head()
        one.erase("ada")  # by a command, or by another worker
        after = two.store.head()
        assert after.seq == before.seq, "an erasure takes no number, so none can tell of it"
        assert after.removal == before.removal + 1
        assert "ada" not in stands()
        assert level("u2") == "full"  # anybody's request is the next one
        with monkeypatch.context() as down:
            for read in ("head", "profile"):
                down.setattr(two.store, read, _failing)
            assert level("u2") == "cached"  # remembered since
            assert level("ada") == "popularity", "a slate of somebody erased was remembered"


def test_a_service_that_nobody_asks_forgets_all_the_same(
    both: tuple[Lifeloop, Lifeloop], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = both
    app = create_app(two, settings=ServeSettings())
    service = app.state.service
    service.recommend(Asked("ada"))
    one.erase("ada")
    service.replay()  # what runs every few seconds
    for read in ("head", "profile"):
        monkeypatch.setattr(two.store, read, _failing)
    assert service.recommend(Asked("ada")).level == "popularity"
    service.close()


def _failing(*_: str) -> None:
    raise StoreError("down")
