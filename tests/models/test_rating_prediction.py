"""Rating prediction: by hand where small, against known numbers where real."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lifeloop.contracts import TrainData
from lifeloop.models import FittedRating, RatingModel, histories, queries, train_data
from lifeloop.testing.checkerboard import tiny


def rated(users: list[int], items: list[int], ratings: list[float], n_items: int) -> TrainData:
    data = tiny(users, items, n_items=n_items)
    order = np.argsort(np.array(users), kind="stable")
    return replace(data, rating=np.array(ratings, dtype=np.float32)[order])


def fit(data: TrainData, **changed: float) -> FittedRating:
    return RatingModel(**changed).fit(data, rng=np.random.default_rng(0))  # type: ignore[arg-type]


def test_without_ratings_there_is_no_value_and_a_reason() -> None:
    fitted = fit(tiny([0, 1], [0, 1], n_items=2))
    (answer,) = fitted.predict(queries([[0]], rating=[[4.0]]), np.array([1], np.int32))
    assert answer.value is None
    assert answer.reason == "no_ratings"


def test_damped_biases_by_hand() -> None:
    """No factors, one rating of each item: mean 3, spread 1, bias (±1) / (1 + damping 1)."""
    data = rated([0, 1], [0, 1], [2.0, 4.0], 3)
    fitted = fit(data, factors=0, damp_item=1.0, damp_user=1e12)
    asked = queries([[], [], []])
    values = [a.value for a in fitted.predict(asked, np.array([0, 1, 2], np.int32))]
    assert values == pytest.approx([2.5, 3.5, 3.0])


def test_the_basis_says_what_a_prediction_rests_on() -> None:
    fitted = fit(rated([0, 0, 1], [0, 1, 1], [2.0, 4.0, 5.0], 3))
    asked = queries([[0], [0], [], []], rating=[[5.0], [5.0], [], []])
    found = fitted.predict(asked, np.array([1, 2, 1, 2], np.int32))
    assert [answer.basis for answer in found] == ["user+item", "user", "item", "mean"]
    assert found[3].value == pytest.approx(11 / 3)


def test_a_generous_newcomer_is_predicted_higher_than_a_harsh_one() -> None:
    rng = np.random.default_rng(3)
    users, items = np.divmod(np.arange(200), 10)
    data = rated(users.tolist(), items.tolist(), rng.integers(1, 6, 200).tolist(), 10)
    asked = queries([[0, 1, 2]] * 2, rating=[[5.0] * 3, [1.0] * 3])
    high, low = (a.value for a in fit(data).predict(asked, np.array([5, 5], np.int32)))
    assert high is not None
    assert low is not None
    assert high > low


def test_predictions_stay_on_the_observed_scale() -> None:
    data = rated([0, 0, 1, 1], [0, 1, 0, 1], [1.0, 5.0, 1.0, 5.0], 2)
    fitted = fit(data, damp_item=0.0, damp_user=0.0)
    asked = queries([[0, 1]] * 2, rating=[[5.0, 5.0], [1.0, 1.0]])
    for answer in fitted.predict(asked, np.array([1, 0], np.int32)):
        assert answer.value is not None
        assert 1.0 <= answer.value <= 5.0


def test_the_last_rating_of_an_item_counts() -> None:
    data = rated([0, 0, 1], [0, 0, 1], [1.0, 5.0, 3.0], 2)
    once = rated([0, 1], [0, 1], [5.0, 3.0], 2)
    np.testing.assert_allclose(fit(data).item_bias, fit(once).item_bias)
    twice = queries([[0, 0]], rating=[[1.0, 5.0]])
    newest = queries([[0]], rating=[[5.0]])
    item = np.array([1], np.int32)
    assert fit(data).predict(twice, item) == fit(data).predict(newest, item)


def test_the_scale_of_the_ratings_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    users, items = np.divmod(np.arange(300), 15)
    stars = rng.integers(1, 6, 300).astype(float)
    small = rated(users.tolist(), items.tolist(), stars.tolist(), 15)
    large = rated(users.tolist(), items.tolist(), (20 * stars).tolist(), 15)
    item = np.array([3, 9], np.int32)
    one = fit(small).predict(queries([[1], [2]], rating=[[4.0], [1.0]]), item)
    two = fit(large).predict(queries([[1], [2]], rating=[[80.0], [20.0]]), item)
    assert [20 * (a.value or 0) for a in one] == pytest.approx([a.value for a in two], rel=1e-4)


def test_state_survives_arrays_and_equal_ratings_are_no_trouble() -> None:
    fitted = fit(rated([0, 1], [0, 1], [3.0, 3.0], 2))
    again = FittedRating.load(fitted.arrays())
    asked, item = queries([[0]], rating=[[3.0]]), np.array([1], np.int32)
    assert again.predict(asked, item) == fitted.predict(asked, item)
    assert fitted.predict(asked, item)[0].value == pytest.approx(3.0)
    empty = FittedRating.load(fit(tiny([0], [0], n_items=2)).arrays())
    assert empty.predict(asked, item)[0].reason == "no_ratings"


def test_factors_beat_the_biases_on_real_ratings(shared_data: Callable[[str], Path]) -> None:
    """One random fifth of ml-100k. Bias alone is .942 over five folds (spec/accuracy.md)."""
    rows = pl.read_csv(
        shared_data("ml-100k") / "u.data", separator="\t", has_header=False,
        new_columns=["user_id", "item_id", "rating", "ts"],
    )  # fmt: skip
    frame = rows.select(
        pl.col("user_id", "item_id").cast(pl.String),
        t_us=pl.col("ts") * 1_000_000,
        seq=pl.int_range(pl.len()),
        weight=pl.lit(1.0, pl.Float32),
        rating=pl.col("rating").cast(pl.Float64),
    )
    test = np.random.default_rng(7).integers(0, 5, frame.height) == 0
    ids = sorted(frame["item_id"].unique().to_list())
    data, users = train_data(
        frame.filter(pl.Series(~test)), item_ids=ids, content=np.zeros((0, 2), np.float32),
        content_ix=np.full(len(ids), -1, np.int32), as_of_us=2**60,
    )  # fmt: skip
    asked = frame.filter(pl.Series(test) & pl.col("user_id").is_in(list(users)))
    user_ix = {user: ix for ix, user in enumerate(users)}
    item_ix = {item: ix for ix, item in enumerate(ids)}
    owner = np.array([user_ix[user] for user in asked["user_id"]])
    item = np.array([item_ix[i] for i in asked["item_id"]])
    everyone = histories(data, np.arange(data.n_users, dtype=np.int32))
    rmse = {}
    for factors in (0, 8):
        values = fit(data, factors=factors).values(everyone, owner, item)
        rmse[factors] = float(np.sqrt(np.mean((values - asked["rating"].to_numpy()) ** 2)))
    assert rmse[0] == pytest.approx(0.942, abs=0.012)
    assert rmse[8] < 0.975 * rmse[0]
