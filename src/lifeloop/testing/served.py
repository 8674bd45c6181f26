"""A small shop with known tastes, to be served in tests."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from lifeloop import Lifeloop
from lifeloop.serve import ServeSettings, create_app, signin
from lifeloop.serve import keys as api_keys

SETTINGS: dict[str, Any] = {
    "name": "served shop",
    "extends": "ecommerce",
    "models": {"text_encoder": "tfidf", "ease_items": 50},
}
TOPICS = ("tea", "rope", "lamp")
Asking = Callable[..., TestClient]
"""Return a client that holds a key of the roles named; none named: no key."""


def fill(loop: Lifeloop, folder: Path, *, n_users: int = 30, per_topic: int = 8) -> None:
    """Every user buys inside one topic; item titles name the topic, brands alternate."""
    items = [f"{topic}-{i}" for topic in TOPICS for i in range(per_topic)]
    pl.DataFrame(
        {
            "item_id": items,
            "title": [i.replace("-", " number ") for i in items],
            "categories": [i.split("-")[0] for i in items],
            "brand": ["even" if int(i[-1]) % 2 == 0 else "odd" for i in items],
        }
    ).write_csv(folder / "items.csv")
    pl.DataFrame(
        [
            (f"u{u}", "purchase", f"{TOPICS[u % 3]}-{(u + n) % per_topic}", f"o{u}-{n}", 2.0)
            for u in range(n_users)
            for n in range(4)
        ],
        schema=["user_id", "type", "item_id", "order_id", "value"],
        orient="row",
    ).with_columns(occurred_at=pl.lit("2026-11-01T10:00:00Z")).write_csv(folder / "events.csv")
    loop.import_items(folder / "items.csv")
    loop.import_events(folder / "events.csv")


@pytest.fixture(scope="session")
def trained_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained shop that no test writes to."""
    folder = tmp_path_factory.mktemp("trained")
    with Lifeloop.open(folder / "shop", scenario=SETTINGS) as loop:
        fill(loop, folder)
        loop.train()
    return folder / "shop"


@pytest.fixture
def served_shop(trained_shop: Path, tmp_path: Path) -> Iterator[Lifeloop]:
    """A copy of the trained shop, opened."""
    shutil.copytree(trained_shop, tmp_path / "shop")
    with Lifeloop.open(tmp_path / "shop", scenario=SETTINGS) as loop:
        yield loop


@pytest.fixture
def asking(served_shop: Lifeloop) -> Iterator[Asking]:
    """Return a client with a key of the roles named; without one where none is."""
    app = create_app(served_shop, settings=ServeSettings(key_cache_s=0))
    opened = []

    def client(*roles: str, **given: Any) -> TestClient:
        headers = {}
        if roles:
            _, text = api_keys.create(served_shop.store.kept, name="test", roles=roles, at_us=1)
            headers = {"authorization": f"Bearer {text}"}
        made = TestClient(app, headers=headers, raise_server_exceptions=False, **given)
        opened.append(made.__enter__())
        return made

    yield client
    for made in opened:
        made.__exit__(None, None, None)


_WAIT = 40
"""How often a page that is being made is asked for again."""


class Reader:
    """Somebody who is signed in, and waits while a page says that it is being made."""

    def __init__(self, client: TestClient, csrf: str) -> None:
        self.client, self.csrf = client, csrf

    def get(self, path: str, **given: Any) -> Any:
        """Return the answer once the page is made."""
        for _ in range(_WAIT):
            answer = self.client.get(path, **given)
            if 'http-equiv="refresh"' not in answer.text:
                return answer
        raise AssertionError(f"{path} was never ready")

    def text(self, path: str, **given: Any) -> str:
        """Return the page as text; it must answer 200."""
        answer = self.get(path, **given)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[-800:])
        return str(answer.text)


def reader_of(loop: Lifeloop) -> Iterator[Reader]:
    """Sign in to the pages of a service over this loop."""
    with TestClient(create_app(loop), follow_redirects=False) as client:
        password = signin.create_account(loop.store.kept, "ann", at_us=1)
        client.post("/login", data={"account": "ann", "password": password})
        token = client.cookies[signin.COOKIE]
        session = signin.session_of(loop.store.kept, token, at_us=2)
        assert session is not None
        yield Reader(client, session.csrf)


@pytest.fixture
def reader(served_shop: Lifeloop) -> Iterator[Reader]:
    """Somebody who is signed in to the pages of the trained shop."""
    yield from reader_of(served_shop)
