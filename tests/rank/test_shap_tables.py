"""What features add, looked up: the same as LightGBM works out, missing and endless values too."""

from typing import Any

import lightgbm
import numpy as np
import pytest

from lifeloop.models.rank.boosted import FittedBooster
from lifeloop.models.rank.shap import MOST, ShapTables


def trees(rng: np.random.Generator, *, missing: bool, **more: Any) -> lightgbm.Booster:
    x = rng.normal(size=(600, 8)).astype(np.float32)
    if missing:
        x[rng.random(x.shape) < 0.2] = np.nan
        x[:, 3] = np.where(rng.random(600) < 0.1, -np.inf, x[:, 3])
    y = np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1]) * (x[:, 2] > 0) + rng.normal(size=600) / 9
    given = {"num_leaves": 15, "min_data_in_leaf": 5, "verbose": -1, "num_threads": 1, **more}
    return lightgbm.train(given, lightgbm.Dataset(x, y), num_boost_round=30)


def asked(rng: np.random.Generator) -> Any:
    x = (rng.normal(size=(40, 8)) * 2).astype(np.float32)
    x[rng.random(x.shape) < 0.15] = np.nan
    x[rng.random(x.shape) < 0.05] = -np.inf
    x[rng.random(x.shape) < 0.05] = np.inf
    x[rng.random(x.shape) < 0.1] = 0.0
    return x


@pytest.mark.parametrize("missing", [False, True])
def test_the_tables_say_what_lightgbm_says(missing: bool) -> None:
    rng = np.random.default_rng(3)
    booster = trees(rng, missing=missing)
    tables = ShapTables.of(booster)
    assert tables is not None
    x = asked(rng)
    told = tables.shares(x)
    np.testing.assert_allclose(told, booster.predict(x, pred_contrib=True), atol=1e-12)
    np.testing.assert_allclose(told.sum(axis=1), booster.predict(x), atol=1e-9)


def test_a_stump_without_any_split_adds_to_the_base_only() -> None:
    rng = np.random.default_rng(4)
    booster = trees(rng, missing=False, min_data_in_leaf=400)
    assert ShapTables.of(booster) is None  # nothing is split at all: LightGBM is asked
    x = asked(rng)
    fitted = FittedBooster.of(booster.model_to_string(), ("a",) * 8, slope=1.0, level=0.0)
    np.testing.assert_allclose(fitted.shares(x)[:, -1], booster.predict(x), atol=1e-12)


def test_splits_of_categories_and_very_long_paths_are_left_to_lightgbm() -> None:
    rng = np.random.default_rng(5)
    x = np.column_stack([rng.integers(0, 6, 600), rng.normal(size=600)]).astype(np.float32)
    data = lightgbm.Dataset(x, (x[:, 0] % 2) + x[:, 1], categorical_feature=[0])
    given = {"min_data_in_leaf": 5, "min_data_per_group": 1, "verbose": -1, "cat_smooth": 0.0}
    assert ShapTables.of(lightgbm.train(given, data, num_boost_round=5)) is None
    wide = rng.integers(0, 2, (1000, 20)).astype(np.float32)
    deep = {"num_leaves": 120, "min_data_in_leaf": 1, "min_gain_to_split": 0.0, "verbose": -1}
    y = wide @ (2.0 ** -np.arange(20))
    grown = lightgbm.train(deep, lightgbm.Dataset(wide, y), num_boost_round=2)
    longest = ShapTables.of(grown)
    assert longest is None or longest.size.max() <= MOST
