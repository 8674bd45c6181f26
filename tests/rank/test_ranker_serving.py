"""A project that asks for trees: trained, kept in a bundle, opened again, served and explained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lifeloop import Lifeloop
from lifeloop.contracts import TrainData
from lifeloop.model import open_model
from lifeloop.models import FittedRanked
from lifeloop.models.rank.ranked import Ranked
from lifeloop.simulate import world, write_world

SETTINGS = {
    "name": "trees",
    "extends": "ecommerce",
    "recommend": {"diversity": 0.0, "temperature": 0.0},
    "models": {"ranker": "trees", "text_encoder": "tfidf", "ease_items": 100},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fit = Ranked.fit

    def whatever_they_gain(
        self: Ranked, data: TrainData, *, rng: np.random.Generator
    ) -> FittedRanked:
        return fit(replace(self, margin=-1.0, least_people=20, most=200), data, rng=rng)

    monkeypatch.setattr(Ranked, "fit", whatever_they_gain)
    paths = write_world(world(n_users=300, n_items=60, days=90, seed=1), tmp_path / "files")
    with Lifeloop.open(tmp_path / "project", scenario=SETTINGS) as loop:
        loop.import_items(paths["items"])
        loop.import_events(paths["events"])
        loop.train()
    return tmp_path / "project"


def test_trees_are_served_from_the_bundle_with_reasons(project: Path) -> None:
    with Lifeloop.open(project, scenario=SETTINGS) as loop:
        bundle = loop.store.active_bundle()
        assert bundle is not None
        model = open_model(project / "bundles", bundle)
        assert isinstance(model.blend, FittedRanked)
        assert model.blend.booster is not None
        users = loop.store.snapshot().events["user_id"].unique().sort().to_list()[:6]
        slates = [loop.recommend(user, k=5) for user in users]
        nobody = loop.recommend("somebody new", k=5)
    assert all(len(slate.items) == 5 for slate in slates)
    assert len({tuple(row.item_id for row in slate.items) for slate in slates}) > 1
    for slate in slates:
        score = [row.score for row in slate.items]
        assert np.isfinite(score).all()
        assert score == sorted(score, reverse=True)
        assert all(row.reason.text for row in slate.items)
    assert nobody.fallback == "no_history"
    assert len(nobody.items) == 5
