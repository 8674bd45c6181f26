"""A project with a network: trained by the loop, interrupted, gone on with, served, refreshed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lifeloop import Lifeloop
from lifeloop.models import registry
from lifeloop.models.neural.sasrec import FittedSasrec, Sasrec
from lifeloop.store.checkpoints import FileCheckpoints

pytestmark = pytest.mark.extras
pytest.importorskip("torch")
pytest.importorskip("onnx")

NOW = 1_740_873_600_000_000  # 2025-03-02 UTC
SETTINGS: dict[str, Any] = {
    "name": "test shop",
    "extends": "ecommerce",
    "models": {"text_encoder": "none", "ease_items": 50, "networks": ["sasrec"]},
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Sasrec(width=8, length=10, layers=1, rounds=2)
    monkeypatch.setitem(registry.NEURAL, "sasrec", lambda settings: made)


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


def network_of(loop: Lifeloop) -> FittedSasrec:
    found = loop.model().blend.part("sasrec")
    assert isinstance(found, FittedSasrec)
    return found


def test_an_interrupted_train_goes_on_and_ends_as_an_uninterrupted_one(
    shop: Lifeloop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shop" / "cache" / "training"
    kept, saves = FileCheckpoints.save, 0

    def falls(self: FileCheckpoints, key: str, state: bytes) -> None:
        nonlocal saves
        kept(self, key, state)
        saves += 1
        if saves == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(FileCheckpoints, "save", falls)
    with pytest.raises(KeyboardInterrupt):
        shop.train()
    assert len(list(folder.iterdir())) == 1
    shop.train()
    rounds = saves
    assert list(folder.iterdir()) == []
    gone_on = network_of(shop)
    shop.train()
    assert saves - rounds == rounds  # all rounds again, and none twice the first time
    whole = network_of(shop)
    np.testing.assert_array_equal(gone_on.vectors, whole.vectors)
    assert gone_on.network.tobytes() == whole.network.tobytes()


def test_its_bundle_answers_and_a_refresh_keeps_what_was_chosen(shop: Lifeloop) -> None:
    first = shop.train()
    assert any("sasrec" in note for note in first["notes"])
    answer = shop.recommend("u0", k=3)
    assert len(answer.items) == 3
    second = shop.train(refresh=True)
    assert second["refreshes"] == 1
    assert network_of(shop).vectors.shape[1] == 8
