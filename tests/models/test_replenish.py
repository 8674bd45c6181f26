"""Repeat purchases: counts by hand, and the last basket as a validation slice."""

import numpy as np

from lifeloop.contracts import UNTIMED, TrainData
from lifeloop.models.data import queries
from lifeloop.models.holdout import hold_out
from lifeloop.models.retrieve.replenish import Replenish

DAY = 86_400_000_000


def visits(rows: list[tuple[int, int, int]], n_items: int) -> TrainData:
    """Rows of (user, day, item)."""
    rows = sorted(rows)
    user, day, item = (np.array(column) for column in zip(*rows, strict=True))
    return TrainData(
        user_ix=user.astype(np.int32),
        item_ix=item.astype(np.int32),
        t_us=day.astype(np.int64) * DAY,
        weight=np.ones(len(rows), np.float32),
        rating=np.full(len(rows), np.nan, np.float32),
        n_users=int(user.max()) + 1,
        item_ids=tuple(f"i{i}" for i in range(n_items)),
        content=np.zeros((0, 1), np.float32),
        content_ix=np.full(n_items, -1, np.int32),
        as_of_us=int(day.max() + 1) * DAY,
    )


def weekly_and_once(n_users: int = 30) -> TrainData:
    """Everyone comes weekly and takes milk (0) each time, and once one thing of their own."""
    rows = []
    for u in range(n_users):
        for week in range(10):
            rows.append((u, 7 * week, 0))
        rows.append((u, 7 * (u % 8), 1 + u % 5))
    return visits(rows, n_items=6)


def test_what_is_taken_every_week_is_likelier_than_what_was_taken_once() -> None:
    fitted = Replenish().fit(weekly_and_once(), rng=np.random.default_rng(0))
    asked = queries([[0, 3, *[0] * 6]], age_days=[[49.0, 49.0, *range(42, 0, -7)]])
    score = fitted.score(asked)[0]
    assert score[0] > 0.8  # every visit that was replayed had milk
    assert score[3] < 0.3
    assert (score[[1, 2, 4, 5]] == -np.inf).all()  # never used: nothing to use again


def test_days_between_uses_are_the_median_drawn_towards_the_usual() -> None:
    fitted = Replenish().fit(weekly_and_once(), rng=np.random.default_rng(0))
    assert fitted.usual_gap == 7.0
    np.testing.assert_allclose(fitted.gap, 7.0)


def test_chances_are_shared_among_the_events_of_the_item() -> None:
    fitted = Replenish().fit(weekly_and_once(), rng=np.random.default_rng(0))
    asked = queries([[0, 3, 0]], age_days=[[14.0, 14.0, 7.0]])
    told = fitted.contributions(asked, 0, 0)
    np.testing.assert_allclose(told.sum(), fitted.score(asked)[0, 0], rtol=1e-6)
    assert told[1] == 0.0
    assert told[-1] == 0.0


def test_events_without_any_time_are_taken_for_visits_a_day_apart() -> None:
    fitted = Replenish().fit(weekly_and_once(), rng=np.random.default_rng(0))
    untimed = fitted.score(queries([[0, 3, 0]]))
    timed = fitted.score(queries([[0, 3, 0]], age_days=[[3.0, 2.0, 1.0]]))
    np.testing.assert_array_equal(untimed, timed)


def test_last_basket_is_held_out_whole_and_asked_at_its_moment() -> None:
    data = visits([(0, 0, 1), (0, 5, 2), (0, 5, 3), (1, 1, 4)], n_items=5)
    inner = hold_out(
        data,
        horizon="basket",
        share=0.2,
        repeats=True,
        max_queries=10,
        rng=np.random.default_rng(0),
    )
    assert inner.user_ix.tolist() == [0]  # a person of one basket has nothing before it
    assert inner.targets_of(0).tolist() == [2, 3]
    assert inner.queries.item_ix.tolist() == [1]
    assert inner.queries.age_days.tolist() == [5.0]
    assert inner.queries.as_of_us.tolist() == [5 * DAY]
    assert inner.data.t_us.tolist() == [0]
    assert UNTIMED not in inner.queries.as_of_us
