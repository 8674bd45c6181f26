"""A refreshed model keeps what was learned, counts anew, and says what moved."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lifeloop.config import Models
from lifeloop.contracts import TrainData
from lifeloop.errors import BundleError
from lifeloop.models import Blend, FittedBlend, drift, from_parts, histories, refreshed, to_parts
from lifeloop.models.blend import Blend as BlendOf
from lifeloop.models.data import queries
from lifeloop.models.drift import Renumbered, divergence
from lifeloop.models.holdout import only
from lifeloop.models.registry import build
from lifeloop.models.retrieve.ease import Ease
from lifeloop.models.retrieve.itemknn import ItemKNN
from lifeloop.models.retrieve.popularity import Popularity
from lifeloop.models.settings import settings_of, with_settings
from lifeloop.testing.checkerboard import checkerboard

PARTS = (Popularity(), Ease(ridge=5.0), ItemKNN())


def learned() -> FittedBlend:
    return Blend(parts=PARTS, horizon="last").fit(checkerboard().data, rng=np.random.default_rng(0))


def test_settings_chosen_on_validation_are_kept_in_the_bundle() -> None:
    spec = Blend(parts=(Popularity(), Ease(ridge=5.0)), horizon="last")
    blend = spec.fit(checkerboard().data, rng=np.random.default_rng(0))
    loaded = from_parts(to_parts(blend))
    assert isinstance(loaded, FittedBlend)
    assert loaded.settings == blend.settings
    (chosen,) = [told for told in map(json.loads, blend.settings) if told["name"] == "ease"]
    assert f"λ {chosen['ridge']:g}" in " ".join(blend.notes)


def test_a_refresh_on_the_same_data_is_the_same_model() -> None:
    blend = learned()
    data = checkerboard().data
    again = refreshed(blend, PARTS, data, rng=np.random.default_rng(5))
    asked = checkerboard().queries
    np.testing.assert_array_equal(again.score(asked), blend.score(asked))
    assert again.notes == blend.notes


def test_a_refresh_leaves_out_what_the_last_training_left_out_and_knows_it() -> None:
    data = checkerboard().data
    blend = Blend(parts=PARTS, horizon="last").fit(data, rng=np.random.default_rng(0))
    assert blend.left_out
    loaded = from_parts(to_parts(blend))
    assert isinstance(loaded, FittedBlend)
    assert loaded.left_out == blend.left_out
    again = refreshed(loaded, PARTS, data, rng=np.random.default_rng(5))
    assert isinstance(again, FittedBlend)
    assert [part.name for part in again.parts] == [part.name for part in blend.parts]
    asked = checkerboard().queries
    np.testing.assert_array_equal(again.score(asked), blend.score(asked))
    others = [part for part in PARTS if part.name not in blend.left_out]
    with pytest.raises(BundleError, match="not those of this version"):
        refreshed(loaded, others, data, rng=np.random.default_rng(5))


def test_a_refresh_counts_what_came_since_and_keeps_weights_and_half_lives() -> None:
    data = checkerboard().data
    old = only(data, data.user_ix < 40, as_of_us=data.as_of_us)
    blend = BlendOf(parts=PARTS, horizon="last", min_queries=20).fit(
        replace(old, n_users=40), rng=np.random.default_rng(0)
    )
    new = refreshed(blend, PARTS, data, rng=np.random.default_rng(0))
    assert isinstance(new, FittedBlend)
    np.testing.assert_array_equal(new.weights, blend.weights)
    popularity = new.part("popularity")
    expected = Popularity().fit(data, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(popularity.users, expected.users)  # type: ignore[union-attr]
    for before, after in zip(blend.parts, new.parts, strict=True):
        assert getattr(before, "half_life_events", 0) == getattr(after, "half_life_events", 0)


def test_parts_of_another_version_are_refused_with_the_next_step() -> None:
    blend = learned()
    data = checkerboard().data
    with pytest.raises(BundleError, match="lifeloop train"):
        refreshed(blend, PARTS[:2], data, rng=np.random.default_rng(0))
    with pytest.raises(BundleError, match="lifeloop train"):
        refreshed(replace(blend, settings=()), PARTS, data, rng=np.random.default_rng(0))
    with pytest.raises(BundleError, match="another version"):
        with_settings(Ease(), '{"ridge": 3.0, "moon": 1}')


@pytest.mark.parametrize("part", build(["ease", "als", "sparse", "popularity"], Models()))
def test_settings_survive_as_text(part: object) -> None:
    assert with_settings(part, settings_of(part)) == part  # type: ignore[arg-type]


def test_divergence_is_zero_for_equals_one_for_strangers_and_symmetric() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.0, 1.0])
    assert divergence(p, p) == 0.0
    assert divergence(p, q) == pytest.approx(1.0)
    r = np.array([0.2, 0.3, 0.5])
    assert divergence(p, r) == pytest.approx(divergence(r, p))
    scipy = pytest.importorskip("scipy.spatial.distance")
    assert divergence(p, r) == pytest.approx(float(scipy.jensenshannon(p, r, base=2)) ** 2)


def events(shift: int, n: int = 900) -> TrainData:
    """The last third of the events takes items ``shift`` further on."""
    rng = np.random.default_rng(4)
    day = np.sort(rng.integers(0, 90, n))
    item = rng.integers(0, 10, n) + np.where(day >= 60, shift, 0)
    user = rng.integers(0, 50, n)
    order = np.lexsort((day, user))
    return TrainData(
        user_ix=user[order].astype(np.int32),
        item_ix=item[order].astype(np.int32),
        t_us=day[order].astype(np.int64) * 86_400_000_000,
        weight=np.ones(n, np.float32),
        rating=np.full(n, np.nan, np.float32),
        n_users=50,
        item_ids=tuple(f"i{i}" for i in range(30)),
        content=np.zeros((0, 1), np.float32),
        content_ix=np.full(30, -1, np.int32),
        as_of_us=90 * 86_400_000_000,
    )


def test_drift_of_inputs_is_said_where_there_is_some_and_not_where_there_is_none() -> None:
    since = 60 * 86_400_000_000
    still = drift(events(0), since_us=since)
    assert not still.moved
    assert still.new_item_share == 0.0
    moved = drift(events(5), since_us=since)
    assert moved.moved
    assert moved.new_item_share == pytest.approx(0.5, abs=0.1)
    none = drift(events(0), since_us=91 * 86_400_000_000)
    assert (none.events, none.item_divergence, none.moved) == (0, None, False)


def test_lists_of_an_older_catalogue_are_compared_by_item_and_not_by_number() -> None:
    data = checkerboard().data
    blend = learned()
    same = drift(data, since_us=0, old=blend, new=blend)
    assert (same.list_overlap, same.score_distance) == (1.0, 0.0)
    # the same catalogue with one newer item in front
    ids = ("new", *data.item_ids)
    older = Renumbered.of(blend, data.item_ids, ids)
    asked = histories(data, np.array([0, 1], np.int32))
    found = older.retrieve(replace(asked, item_ix=asked.item_ix + 1), 5)
    np.testing.assert_array_equal(found.item_ix, blend.retrieve(asked, 5).item_ix + 1)
    gone = Renumbered.of(blend, data.item_ids, data.item_ids[1:])
    listed = gone.retrieve(queries([[1, 3]]), 24).item_ix[0]
    assert listed.max() < len(data.item_ids) - 1
    assert len(set(listed[listed >= 0].tolist())) == 23
