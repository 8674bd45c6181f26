"""Groups of users and of items."""

import numpy as np
import pytest

from lifeloop.evaluate import slices


def test_groups_have_means_and_standard_errors() -> None:
    values = np.array([0.0, 1.0, 1.0, 0.5])
    made = slices.by_group({"hr@10": values}, ["b", "b", "a", "b"], metrics=["hr@10"])
    assert list(made) == ["a", "b"]
    assert made["b"] == {"n": 3, "hr@10": 0.5, "hr@10_se": pytest.approx(0.5 / np.sqrt(3))}
    assert made["a"]["hr@10_se"] is None
    assert "one user" in made["a"]["reason"]


def test_history_lengths_fall_into_their_range() -> None:
    groups = slices.history_groups(np.array([1, 4, 5, 19, 20, 99, 100, 5000]))
    assert groups == ["1-4", "1-4", "5-19", "5-19", "20-99", "20-99", "100+", "100+"]


def test_ranges_are_listed_in_the_order_of_their_numbers() -> None:
    values = np.zeros(4)
    made = slices.by_group({"m": values}, ["100+", "20-99", "5-19", "1-4"], metrics=["m"])
    assert list(made) == ["1-4", "5-19", "20-99", "100+"]


def test_item_ages_count_from_the_request_and_unseen_items_are_named() -> None:
    groups = slices.age_groups(np.array([-3.0, 0.0, 6.9, 7.0, 89.0, 400.0, np.nan]))
    assert groups == ["0-6", "0-6", "0-6", "7-29", "30-89", "90+", "unseen"]


def test_recall_by_item_age_is_per_target() -> None:
    ranks = np.array([1.0, 11.0, np.inf, 2.0])
    made = slices.by_item_age(ranks, ["unseen", "0-6", "0-6", "0-6"], 10)
    assert list(made) == ["0-6", "unseen"]
    assert made["0-6"] == {"n_targets": 3, "recall@10": pytest.approx(1 / 3)}
