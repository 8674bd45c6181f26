"""The search for settings: only on validation, within its budget, kept in the bundle."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from lifeloop.config import Models
from lifeloop.contracts import FittedRetriever, TrainData
from lifeloop.models import FittedBlend, build
from lifeloop.models.blend import Blend
from lifeloop.models.climb import Climbed
from lifeloop.models.data import queries
from lifeloop.models.holdout import Holdout, hold_out
from lifeloop.models.retrieve.ease import Ease, FittedEase
from lifeloop.models.retrieve.itemknn import ItemKNN
from lifeloop.models.settings import with_settings
from lifeloop.models.state import from_parts, to_parts
from lifeloop.models.tune import SPACES, Tuning, tuned
from lifeloop.testing.checkerboard import checkerboard

pytestmark = pytest.mark.extras
pytest.importorskip("optuna")


@pytest.fixture
def inner() -> Holdout:
    return hold_out(
        checkerboard().data,
        horizon="last",
        share=0.15,
        repeats=False,
        max_queries=100,
        rng=np.random.default_rng(0),
    )


def start(inner: Holdout) -> Climbed:
    part = Ease(ridge=7.0)
    return Climbed(part, part.fit(inner.data, rng=np.random.default_rng(0)), None)


def size(fitted: FittedRetriever) -> float:
    """A judge that likes the ridge near 300: the larger it is, the smaller are the weights."""
    assert isinstance(fitted, FittedEase)
    return -abs(float(np.abs(fitted.weights).max()) - 0.02)


def test_what_is_better_on_the_slice_is_kept_and_said(inner: Holdout) -> None:
    found = tuned(start(inner), inner, size, budget=Tuning(trials=15), rng=_rng())
    assert isinstance(found.part, Ease)
    assert size(found.fitted) > size(start(inner).fitted)
    assert found.part.ridge != 7.0
    assert found.told is not None
    assert "15 trials" in found.told
    again = tuned(start(inner), inner, size, budget=Tuning(trials=15), rng=_rng())
    assert again.part == found.part


def test_what_was_there_is_kept_where_no_trial_is_better(inner: Holdout) -> None:
    before = start(inner)
    found = tuned(
        before, inner, lambda f: float(f is before.fitted), budget=Tuning(trials=3), rng=_rng()
    )
    assert found.part is before.part
    assert found.told is not None
    assert "what was there" in found.told


def test_no_trial_is_begun_after_the_time_is_used_up(inner: Holdout) -> None:
    asked: list[float] = []

    def slow(fitted: FittedRetriever) -> float:
        import time

        asked.append(0.0)
        time.sleep(0.2)
        return 0.0

    tuned(start(inner), inner, slow, budget=Tuning(trials=100, seconds=0.5), rng=_rng())
    assert 2 <= len(asked) <= 5


def test_without_trials_and_without_a_space_nothing_is_searched(inner: Holdout) -> None:
    before = start(inner)
    assert tuned(before, inner, size, budget=Tuning(), rng=_rng()) is before

    @dataclass(frozen=True)
    class Other:
        name: str = "other"

        def fit(self, data: TrainData, *, rng: np.random.Generator) -> FittedRetriever:
            raise AssertionError("never fitted")

    other = Climbed(Other(), before.fitted, None)
    assert tuned(other, inner, size, budget=Tuning(trials=5), rng=_rng()) is other


@pytest.mark.parametrize("kind", SPACES, ids=lambda kind: kind.__name__)
def test_every_space_makes_parts_that_can_be_fitted(kind: type, inner: Holdout) -> None:
    part = kind()
    found = tuned(
        Climbed(part, part.fit(inner.data, rng=_rng()), None),
        inner,
        lambda fitted: float(np.isfinite(fitted.score(queries([[0, 2]]))).sum()),
        budget=Tuning(trials=2),
        rng=_rng(),
    )
    assert found.told is not None


def test_the_settings_found_are_kept_in_the_bundle() -> None:
    (blend,) = build(["lifeloop"], Models(tuning_trials=4), horizon="last")
    assert isinstance(blend, Blend)
    assert blend.tuning == Tuning(trials=4)
    blend = replace(blend, parts=(ItemKNN(), Ease()))
    fitted = blend.fit(checkerboard().data, rng=_rng())
    assert any("4 trials of Optuna" in note for note in fitted.notes)
    again = from_parts(to_parts(fitted))
    assert isinstance(again, FittedBlend)
    assert again.settings == fitted.settings
    kept = with_settings(ItemKNN(), again.settings[0])
    assert isinstance(kept, ItemKNN)


def _rng() -> np.random.Generator:
    return np.random.default_rng(3)
