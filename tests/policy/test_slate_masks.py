"""Eligibility, repeat windows and the words for what they took, on hand counts."""

import numpy as np
import pytest

from lifeloop.contracts import UNTIMED
from lifeloop.policy import (
    ALWAYS,
    FOREVER,
    NEVER,
    available,
    combine,
    in_stock,
    outside_repeat_window,
    repeat_windows,
    say_shortfall,
)

DAY = 86_400_000_000
NOW = 100 * DAY


def test_availability_starts_at_from_and_ends_before_until() -> None:
    start = np.array([ALWAYS, NOW, NOW + 1, ALWAYS, ALWAYS])
    end = np.array([FOREVER, FOREVER, FOREVER, NOW, NOW + 1])
    found = available(start, end, as_of_us=NOW)
    assert found.tolist() == [True, True, False, False, True]


def test_unknown_stock_is_not_sold_out() -> None:
    found = in_stock(np.array([np.nan, 0.0, -1.0, 0.5, 3.0]))
    assert found.tolist() == [True, False, False, True, True]


def test_the_items_kind_decides_before_its_categories_and_the_default() -> None:
    windows = repeat_windows(
        ["film", "milk", None, None, "lamp"],
        [("milk",), (), ("lamp", "milk"), (), ("x",)],
        default_days=30.0,
        by_kind={"milk": 7.0, "film": 365.0},
    )
    assert windows.tolist() == [365.0, 7.0, 7.0, 30.0, 30.0]


def test_no_default_means_never_again() -> None:
    windows = repeat_windows([None, "milk"], [(), ()], default_days=None, by_kind={"milk": 0.0})
    assert windows.tolist() == [NEVER, 0.0]


@pytest.mark.parametrize(
    ("ago_us", "window", "free"),
    [
        (30 * DAY, 30.0, True),
        (30 * DAY - 1, 30.0, False),
        (0, 30.0, False),
        (0, 0.0, True),
        (10_000 * DAY, NEVER, False),
    ],
)
def test_an_item_returns_exactly_when_its_window_is_over(
    ago_us: int, window: float, free: bool
) -> None:
    found = outside_repeat_window(
        np.array([1], np.int32),
        np.array([NOW - ago_us]),
        windows_days=np.array([window, window]),
        as_of_us=NOW,
    )
    assert found.tolist() == [True, free]


def test_the_newest_consumption_counts_in_any_order() -> None:
    for times in ([NOW - 90 * DAY, NOW - DAY], [NOW - DAY, NOW - 90 * DAY]):
        found = outside_repeat_window(
            np.array([0, 0], np.int32),
            np.array(times),
            windows_days=np.array([30.0]),
            as_of_us=NOW,
        )
        assert found.tolist() == [False]


def test_a_consumption_without_a_time_is_inside_every_window_but_zero() -> None:
    found = outside_repeat_window(
        np.array([0, 1, 2], np.int32),
        np.full(3, UNTIMED),
        windows_days=np.array([30.0, NEVER, 0.0]),
        as_of_us=NOW,
    )
    assert found.tolist() == [False, False, True]


def test_each_excluded_item_counts_once_for_the_first_rule_that_took_it() -> None:
    combined = combine(
        {
            "out of stock": np.array([False, True, True, True]),
            "already bought": np.array([False, False, True, True]),
            "hidden": np.ones(4, np.bool_),
        },
        n=4,
    )
    assert combined.allowed.tolist() == [False, False, True, True]
    assert combined.excluded == {"out of stock": 1, "already bought": 1}
    assert combined.n_allowed + sum(combined.excluded.values()) == 4


def test_the_shortfall_is_said_in_words() -> None:
    allowed = np.arange(40) >= 37
    combined = combine({"already bought within 30 days": allowed}, n=40)
    said = say_shortfall(combined, asked=10, got=3)
    assert said == "3 of 10: of 40 items, 37 already bought within 30 days"
    assert say_shortfall(combined, asked=3, got=3) is None
    small = say_shortfall(combine({}, n=2), asked=5, got=2)
    assert small == "2 of 5: only 2 items to choose from"
