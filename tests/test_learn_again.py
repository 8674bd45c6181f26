"""Training again: refreshed from the last bundle, interrupted, or of another version."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lifeloop import Lifeloop
from lifeloop.errors import BundleError

DAY = 86_400_000_000
NOW = 1_740_873_600_000_000  # 2025-03-02 UTC
SETTINGS: dict[str, Any] = {
    "name": "test shop",
    "extends": "ecommerce",
    "models": {"text_encoder": "none", "ease_items": 50},
}


def visit(loop: Lifeloop, user: int, item: int, day: int) -> None:
    loop.record(
        {
            "user_id": f"u{user}",
            "type": "purchase",
            "item_id": f"i{item:02d}",
            "occurred_at": f"2025-{1 + day // 28:02d}-{1 + day % 28:02d}T12:00:00Z",
            "order_id": f"o{user}-{day}-{item}",
        }
    )


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Lifeloop]:
    rng = np.random.default_rng(3)
    rows = [
        {
            "user_id": f"u{u}",
            "type": "purchase",
            "item_id": f"i{(u % 3) * 8 + int(i):02d}",
            "occurred_at": f"2025-{1 + d // 28:02d}-{1 + d % 28:02d}T12:00:00Z",
            "order_id": f"o{u}-{n}",
        }
        for u in range(60)
        for n, (i, d) in enumerate(zip(rng.permutation(8)[:6], rng.integers(0, 50, 6), strict=True))
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "events.csv")
    with Lifeloop.open(tmp_path / "shop", scenario=SETTINGS, clock=lambda: NOW) as loop:
        loop.import_events(tmp_path / "events.csv")
        yield loop


def test_the_first_training_has_nothing_to_refresh(shop: Lifeloop) -> None:
    manifest = shop.train(refresh=True)
    assert (manifest["refreshes"], manifest["drift"]) == (0, None)
    assert manifest["learned_in"] == manifest["bundle"]


def test_a_refresh_counts_anew_and_says_where_its_settings_are_from(shop: Lifeloop) -> None:
    first = shop.train()
    for user in range(20):
        visit(shop, user, 23, 55)
    second = shop.train(refresh=True)
    third = shop.train(refresh=True)
    assert [m["refreshes"] for m in (first, second, third)] == [0, 1, 2]
    assert {m["learned_in"] for m in (first, second, third)} == {first["bundle"]}
    assert second["interactions"] == first["interactions"] + 20
    assert second["drift"]["events"] == 20
    assert "learned in" in " ".join(second["notes"])
    popularity: Any = shop.model().blend.part("popularity")
    item = shop.model().catalogue.ix["i23"]
    assert popularity.users[item] >= 20
    assert len(shop.recommend("u1", k=5)) == 5


def test_changed_settings_of_the_project_are_learned_and_not_refreshed(tmp_path: Path) -> None:
    home = tmp_path / "shop"
    with Lifeloop.open(home, scenario=SETTINGS, clock=lambda: NOW) as loop:
        for user in range(5):
            visit(loop, user, user % 3, user)
        loop.train()
    changed = {**SETTINGS, "models": {"text_encoder": "none", "ease_items": 40}}
    with Lifeloop.open(home, scenario=changed, clock=lambda: NOW) as loop:
        manifest = loop.train(refresh=True)
    assert manifest["refreshes"] == 0
    assert any("settings of the project have changed" in note for note in manifest["notes"])


def test_a_training_that_is_interrupted_leaves_the_last_bundle_and_can_be_repeated(
    shop: Lifeloop,
) -> None:
    first = shop.train()["bundle"]

    def power_cut(step: str, done: float, total: float | None) -> None:
        if step == "fit the models" and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shop.train(progress=power_cut)
    assert shop.store.active_bundle() == first
    assert shop.recommend("u0").bundle == first
    second = shop.train()["bundle"]
    assert shop.recommend("u0").bundle == second != first


def test_a_bundle_of_a_later_version_is_refused_and_training_starts_anew(shop: Lifeloop) -> None:
    first = shop.train()["bundle"]
    path = shop.home / "bundles" / first / "manifest.json"
    body = json.loads(path.read_text())
    path.write_text(json.dumps(body | {"schema": body["schema"] + 1}))
    with Lifeloop.open(shop.home, scenario=SETTINGS, clock=lambda: NOW) as later:
        with pytest.raises(BundleError, match="layout up to"):
            later.recommend("u0")
        manifest = later.train(refresh=True)
        assert (manifest["refreshes"], manifest["drift"]) == (0, None)
        assert later.recommend("u0").bundle == manifest["bundle"]
