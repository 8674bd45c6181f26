"""Settings are climbed on the slice: no step that does not gain, no fit for nothing."""

from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import pytest

from lifeloop.contracts import FittedRetriever, Retriever, TrainData
from lifeloop.models.climb import climb
from lifeloop.models.holdout import Holdout
from lifeloop.models.retrieve.ease import Ease, FittedEase
from lifeloop.models.retrieve.sequential import SequentialRidge
from lifeloop.testing.checkerboard import checkerboard


@dataclass(frozen=True)
class Step:
    worth: float
    worths: tuple[float, ...]
    fits: list[float] = field(default_factory=list, compare=False)
    name: str = "steps"

    def ladder(self) -> "tuple[Step, ...]":
        return tuple(Step(w, self.worths, self.fits) for w in self.worths)

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> Any:
        self.fits.append(self.worth)
        return self


INNER = cast(Holdout, type("Slice", (), {"data": None})())


def worth(fitted: FittedRetriever) -> float:
    return float(cast(Any, fitted).worth)


def climbed(start: float, worths: tuple[float, ...]) -> tuple[float, list[float]]:
    part = Step(start, worths)
    found = climb(cast(Retriever, part), INNER, worth, rng=np.random.default_rng(0))
    return worth(found.fitted), part.fits


def test_goes_up_while_it_gains() -> None:
    assert climbed(0.2, (0.1, 0.2, 0.3, 0.4, 0.35)) == (0.4, [0.2, 0.3, 0.4, 0.35])


def test_goes_down_where_up_does_not_gain() -> None:
    assert climbed(0.2, (0.9, 0.3, 0.2, 0.1, 0.8)) == (0.9, [0.2, 0.1, 0.3, 0.9])


def test_stays_where_equal_is_no_gain() -> None:
    part = Ease(ridge=50.0)
    assert part in part.ladder()
    found, fits = climbed(0.2, (0.1, 0.2, 0.15))
    assert (found, len(fits)) == (0.2, 3)


@dataclass(frozen=True)
class Solved:
    """A part whose cost grows with its items; says how many each fit covered."""

    ridge: float = 1.0
    n_items: int = 5_000
    fits: list[tuple[float, int]] = field(default_factory=list, compare=False)
    name: str = "solved"

    def ladder(self) -> "tuple[Solved, ...]":
        return tuple(replace(self, ridge=r) for r in (1.0, 2.0, 3.0))

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> Any:
        self.fits.append((self.ridge, self.n_items))
        return self


@pytest.mark.parametrize(
    ("catalogue", "fits"),
    [
        (4_000, [(1.0, 5_000), (2.0, 5_000), (3.0, 5_000)]),
        (90_000, [(1.0, 2_500), (2.0, 2_500), (3.0, 2_500), (2.0, 5_000)]),
    ],
)
def test_large_catalogues_are_climbed_with_fewer_items_and_fitted_whole(
    catalogue: int, fits: list[tuple[float, int]]
) -> None:
    data = type("Data", (), {"n_items": catalogue})()
    inner = cast(Holdout, type("Slice", (), {"data": data})())
    part = Solved()

    def judge(fitted: FittedRetriever) -> float:
        return -abs(float(cast(Any, fitted).ridge) - 2.0)

    found = climb(cast(Retriever, part), inner, judge, rng=np.random.default_rng(0))
    assert part.fits == fits
    assert (cast(Any, found.part).ridge, cast(Any, found.fitted).n_items) == (2.0, 5_000)


@pytest.mark.parametrize("part", [Ease(ridge=50.0), SequentialRidge(ridge=50.0)])
def test_what_no_step_changes_is_counted_once_and_the_answer_is_the_same(
    part: Ease | SequentialRidge, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = checkerboard().data
    inner = cast(Holdout, type("Slice", (), {"data": data})())
    counts: list[object] = []
    counted = type(part).counted

    def watched(self: Any, data: TrainData) -> Any:
        counts.append(self)
        return counted(self, data)

    monkeypatch.setattr(type(part), "counted", watched)
    ridges: list[float] = []

    def judge(fitted: FittedRetriever) -> float:  # more is better: up the whole ladder
        ridges.append(len(ridges))
        return float(len(ridges))

    found = climb(cast(Retriever, part), inner, judge, rng=np.random.default_rng(0))
    assert (len(counts), len(ridges) > 3) == (1, True)
    again = found.part.fit(data, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(
        cast(FittedEase, found.fitted).weights, cast(FittedEase, again).weights
    )
