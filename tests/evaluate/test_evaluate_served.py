"""What became of served slates, against counts made by hand."""

import math

import numpy as np
import polars as pl
import pytest

from lifeloop.contracts import Decision
from lifeloop.evaluate.served import (
    DAY_US,
    concentration,
    drift,
    exposure,
    outcomes,
    rates,
    slates,
    variety,
)

ITEMS = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "d"],
        "category": ["x", "x", "y", "y"],
        "brand": ["one", "two", "two", None],
    }
)


def decision(n: int, items: tuple[str, ...], *, stage: str = "loyalty", t_us: int = 0) -> Decision:
    return Decision(
        request_id=f"r{n}",
        user_id=f"u{n}",
        t_us=t_us,
        surface="default",
        bundle="m1" if n < 2 else "m2",
        seq=n,
        stage=stage,
        policy={},
        rng_seed=0,
        candidate_ids=items,
        candidate_scores=tuple(float(len(items) - k) for k in range(len(items))),
        slate_ids=items,
        propensities=None,
        level="full",
    )


def events(*rows: tuple[str | None, str, str, str, int]) -> pl.DataFrame:
    schema = {
        "request_id": pl.String,
        "user_id": pl.String,
        "item_id": pl.String,
        "type": pl.String,
        "t_us": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


@pytest.fixture
def found() -> pl.DataFrame:
    served = slates([decision(0, ("a", "b")), decision(1, ("a", "c")), decision(2, ("b", "a"))])
    log = events(
        *[(f"r{n}", f"u{n}", item, "impression", 1) for n, item in enumerate("aab")],
        ("r0", "u0", "b", "impression", 1),
        ("r0", "u0", "b", "click", 2),
        ("r1", "u1", "c", "click", 2),  # seen, though no impression said so
        (None, "u0", "b", "purchase", 3 * DAY_US),
        (None, "u2", "b", "purchase", 8 * DAY_US),  # too late
        ("r2", "u2", "b", "purchase", 9 * DAY_US),  # but this one names the slate
        ("elsewhere", "u0", "a", "click", 2),
    )
    return outcomes(served, log, orders=("purchase",))


def test_every_place_knows_what_became_of_it(found: pl.DataFrame) -> None:
    assert found.height == 6
    rows = {
        (r["request_id"], r["item_id"]): (r["position"], r["seen"], r["clicked"], r["converted"])
        for r in found.iter_rows(named=True)
    }
    assert rows == {
        ("r0", "a"): (1, True, False, False),
        ("r0", "b"): (2, True, True, True),
        ("r1", "a"): (1, True, False, False),
        ("r1", "c"): (2, True, True, False),
        ("r2", "b"): (1, True, False, True),
        ("r2", "a"): (2, False, False, False),
    }


def test_rates_are_of_places_seen(found: pl.DataFrame) -> None:
    told = rates(found, "position").to_dicts()
    assert [(r["position"], r["seen"], r["clicked"], r["converted"]) for r in told] == [
        (1, 3, 0, 1),
        (2, 2, 2, 1),
    ]
    assert told[0]["cvr"] == pytest.approx(1 / 3)
    assert told[0]["cvr_low"] == pytest.approx(0.0615, abs=1e-3)  # Wilson, 1 of 3
    assert [r["bundle"] for r in rates(found, "bundle").to_dicts()] == ["m1", "m2"]


def test_without_impressions_every_place_counts_as_seen() -> None:
    served = slates([decision(0, ("a", "b"))])
    found = outcomes(served, events(("r0", "u0", "a", "click", 1)), orders=())
    assert found["seen"].to_list() == [True, True]


def test_variety_and_coverage(found: pl.DataFrame) -> None:
    (row,) = variety(found, ITEMS.select("item_id", "category"), "stage").to_dicts()
    assert row == {
        "stage": "loyalty",
        "slates": 3,
        "items": 3,
        "coverage": 0.75,
        "diversity": pytest.approx((0.5 + 1.0 + 0.5) / 3),
    }


def test_concentration_is_that_of_the_definition(found: pl.DataFrame) -> None:
    told = concentration(found, 4)
    counts = np.array([0, 1, 2, 3])  # d, c, b, a
    pairs = np.abs(counts[:, None] - counts[None, :]).sum()
    assert told["gini"] == pytest.approx(pairs / (2 * 4 * counts.sum()))
    assert told["top10"] == pytest.approx(3 / 6)
    assert concentration(found.clear(), 4)["gini"] is None


def test_exposure_beside_the_catalogue(found: pl.DataFrame) -> None:
    rows = {r["brand"]: r for r in exposure(found, ITEMS, "brand").to_dicts()}
    assert rows["one"]["catalogue_share"] == pytest.approx(1 / 3)
    assert rows["one"]["exposure_share"] == pytest.approx(0.5)
    assert rows["two"]["ratio"] == pytest.approx(0.5 / (2 / 3))


def test_drift_is_the_population_stability_index() -> None:
    many = [decision(n, ("a",), stage="loyalty" if n % 2 else "churned") for n in range(40)]
    later = [decision(n, ("a",), t_us=8 * DAY_US) for n in range(40, 80)]
    few = [decision(n, ("a",), t_us=15 * DAY_US) for n in range(80, 85)]
    rows = drift(slates([*many, *later, *few])).to_dicts()
    q, p = np.array([20.5, 20.5]) / 41, np.array([0.5, 40.5]) / 41
    assert rows[0]["psi"] is None
    assert rows[1]["psi"] == pytest.approx(float(((p - q) * np.log(p / q)).sum()))
    assert rows[2]["reason"] == "fewer than 30 slates"
    assert not any(isinstance(r["psi"], float) and math.isnan(r["psi"]) for r in rows)
    assert drift(slates([])).is_empty()
