"""Gaps, outliers and scales against independent references."""

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn import preprocessing

from lifeloop.errors import InputError
from lifeloop.prepare import bounds, fill, fit_scale

RNG = np.random.default_rng(7)
MONEY = np.exp(RNG.normal(3, 1, 2_000))


@pytest.mark.parametrize(
    ("method", "theirs"),
    [
        ("standard", preprocessing.StandardScaler()),
        ("robust", preprocessing.RobustScaler()),
        ("minmax", preprocessing.MinMaxScaler()),
    ],
)
def test_scales_are_those_of_scikit_learn(
    method: str, theirs: preprocessing.StandardScaler
) -> None:
    ours = fit_scale(MONEY, method=method).apply(MONEY)
    np.testing.assert_allclose(ours, theirs.fit_transform(MONEY[:, None]).ravel(), rtol=1e-9)


def test_quantiles_are_ranks() -> None:
    ours = fit_scale(MONEY, method="quantile").apply(MONEY)
    ranks = (stats.rankdata(MONEY) - 1) / (len(MONEY) - 1)
    assert np.abs(ours - ranks).max() < 0.002
    ties = fit_scale(np.array([0.0] * 90 + [1.0] * 10), method="quantile")
    np.testing.assert_allclose(ties.apply(np.array([0.0, 1.0])), [0.45, 0.95], atol=0.02)


def test_log_is_odd_and_keeps_zero() -> None:
    scale = fit_scale(MONEY, method="log")
    np.testing.assert_allclose(scale.apply(np.array([-1.0, 0.0, 1.0])), [-np.log(2), 0, np.log(2)])


@pytest.mark.parametrize("method", ["standard", "robust", "minmax", "log", "quantile", "none"])
def test_a_constant_and_a_gap_give_no_infinity(method: str) -> None:
    scale = fit_scale(np.array([0.1 + 0.2] * 30 + [np.nan]), method=method)
    out = scale.apply(np.array([0.30000000000000004, np.nan]))
    assert np.isfinite(out[0])
    assert np.isnan(out[1])
    assert np.isfinite(fit_scale(np.array([np.nan]), method=method).apply(np.array([1.0]))).all()


def test_robust_z_is_that_of_scipy() -> None:
    usual = bounds(MONEY, method="robust_z", robust_z=3.5, iqr_factor=1.5, log=False)
    assert usual is not None
    z = (MONEY - np.median(MONEY)) / stats.median_abs_deviation(MONEY, scale="normal")
    np.testing.assert_array_equal(usual.outside(MONEY), np.abs(z) > 3.5)


def test_iqr_fences_are_tukeys() -> None:
    values = np.r_[np.arange(1.0, 22.0), 1000.0]
    usual = bounds(values, method="iqr", robust_z=5, iqr_factor=1.5, log=False)
    q1, q3 = np.percentile(values, [25, 75])
    assert usual is not None
    assert (usual.low, usual.high) == pytest.approx((q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)))
    assert usual.capped(values).max() == pytest.approx(usual.high)


def test_mostly_equal_values_still_have_outliers_and_constants_have_none() -> None:
    mostly = np.r_[np.ones(99), 500.0]
    usual = bounds(mostly, method="robust_z", robust_z=5, iqr_factor=3, log=False)
    assert usual is not None
    assert usual.outside(mostly).sum() == 1
    assert bounds(np.ones(99), method="iqr", robust_z=5, iqr_factor=3, log=False) is None
    assert bounds(mostly[:5], method="iqr", robust_z=5, iqr_factor=3, log=False) is None


def test_a_model_fills_better_than_the_median_and_says_so() -> None:
    n = 1_500
    size = RNG.normal(size=n)
    colour = RNG.choice(["red", "blue"], n)
    price = 10 + 3 * size + 5 * (colour == "red")
    gap = RNG.random(n) < 0.2
    frame = pl.DataFrame(
        {"price": pl.Series(price).set(pl.Series(gap), None), "size": size, "colour": colour}
    )
    model = fill(frame, "price", method="model", rng=np.random.default_rng(1))
    median = fill(frame, "price", method="median", rng=np.random.default_rng(1))
    errors = [np.abs(f.values.to_numpy()[gap] - price[gap]).mean() for f in (model, median)]
    assert errors[0] < errors[1] / 3
    assert model.filled == int(gap.sum())
    assert "size" in model.how
    assert "median" in model.how
    again = fill(frame, "price", method="model", rng=np.random.default_rng(1))
    assert again.values.equals(model.values)


def test_a_model_fills_words_too() -> None:
    n = 600
    size = RNG.normal(size=n)
    truth = np.where(size > 0, "large", "small")
    gap = RNG.random(n) < 0.3
    words = pl.Series("label", [None if g else t for t, g in zip(truth, gap, strict=True)])
    frame = pl.DataFrame({"label": words, "size": size})
    filled = fill(frame, "label", method="model", rng=np.random.default_rng(0))
    assert (filled.values.to_numpy()[gap] == truth[gap]).mean() > 0.95


def test_too_little_for_a_model_falls_back_and_says_so() -> None:
    frame = pl.DataFrame({"age": [30.0, None, 50.0, 40.0], "city": ["a", "b", "a", "a"]})
    filled = fill(frame, "age", method="model", rng=np.random.default_rng(0))
    assert filled.values.to_list() == [30, 40, 50, 40]
    assert "too little for a model" in filled.how


def test_a_median_of_words_and_an_unknown_column_are_refused() -> None:
    frame = pl.DataFrame({"city": ["a", None]})
    with pytest.raises(InputError, match="most_frequent"):
        fill(frame, "city", method="median", rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="no column"):
        fill(frame, "town", method="median", rng=np.random.default_rng(0))
