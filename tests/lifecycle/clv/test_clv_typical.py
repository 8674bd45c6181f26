"""Spend by credibility, the terms of a value, what a prediction adds up to, stage values."""

import numpy as np
import polars as pl
import pytest

from lifeloop.errors import InputError, Unfit
from lifeloop.lifecycle.clv import Terms, predict
from lifeloop.lifecycle.clv.typical import spend_of
from lifeloop.lifecycle.forecast import summed_value


def spends(n: int = 200, *, tied: bool, seed: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return purchases and their customers; with ``tied`` who buys more spends more."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 12, n)
    level = rng.gamma(4, 5, n) * (1 + x if tied else 1)
    who = np.repeat(np.arange(n), x + 1)
    # tied: noise of equal spread for all, as credibility takes it; else a gamma around the level
    noise = rng.normal(0, 60, len(who))
    value = 300 + level[who] + noise if tied else level[who] * rng.gamma(3, 1 / 3, len(who))
    level = level + 300 if tied else level
    daily = pl.DataFrame({"user_id": [f"{u:03}" for u in who], "value": value})
    means = daily.group_by("user_id", maintain_order=True).agg(
        m=pl.col("value").slice(1).mean().fill_null(0.0)
    )
    return daily, means.with_columns(x=pl.Series(x.astype(float)), level=pl.Series(level))


def test_spend_tied_to_frequency_is_pulled_to_its_own_group() -> None:
    daily, people = spends(tied=True)
    x, m = people["x"].to_numpy(), people["m"].to_numpy()
    found = spend_of(daily, x, m)
    assert found.how == "credibility"
    assert found.why is not None
    assert "does not depend on frequency" in found.why
    own = daily.group_by("user_id", maintain_order=True).agg(pl.col("value").mean())
    own_mean, level = own["value"].to_numpy(), people["level"].to_numpy()
    off, own_off = np.abs(found.expected - level), np.abs(own_mean - level)
    assert off[x < 3].mean() < 0.8 * own_off[x < 3].mean()
    assert off.mean() < own_off.mean()
    # a group's sum of expected money per purchase stays that of the group: no money is made
    busy = x >= 8
    n = x + 1
    assert (n * found.expected)[busy].sum() == pytest.approx((n * own_mean)[busy].sum(), rel=0.05)


def test_spend_that_is_not_tied_is_gamma_gamma() -> None:
    daily, people = spends(tied=False)
    found = spend_of(daily, people["x"].to_numpy(), people["m"].to_numpy())
    assert (found.how, found.why) == ("gamma_gamma", None)
    level = people["level"].to_numpy()
    assert found.expected.mean() == pytest.approx(level.mean(), rel=0.1)


def test_no_purchase_has_no_spend() -> None:
    none = pl.DataFrame({"user_id": [], "value": []}, schema={"user_id": str, "value": float})
    with pytest.raises(Unfit, match="no purchase"):
        spend_of(none, np.zeros(0), np.zeros(0))


@pytest.mark.parametrize(
    "wrong",
    [{"horizon_days": 0}, {"period_days": 0}, {"discount": -0.1}, {"discount": float("nan")},
     {"margin": 0.0}, {"margin": float("inf")}],
)  # fmt: skip
def test_terms_that_make_no_value_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Terms(**wrong)  # type: ignore[arg-type]


def test_a_prediction_is_purchases_times_spend_and_margin_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(3)
    rows = []
    for user in range(120):
        day, rate = int(rng.integers(0, 90)), rng.gamma(1.2, 0.05)
        end = min(day + rng.exponential(200), 180)
        while day < end:
            rows.append((f"u{user}", day, float(rng.gamma(3, 9)) + 1))
            day += 1 + int(rng.exponential(1 / max(rate, 1e-3)))
    days = pl.DataFrame(rows, schema=["user_id", "day", "value"], orient="row")
    whole = Terms(horizon_days=60, discount=0.0)
    full = predict(days, as_of=179, terms=whole, rng=np.random.default_rng(1))
    c = full.customers
    assert (c["purchases"] * c["spend"]).to_numpy() == pytest.approx(c["value"].to_numpy())
    assert (c["value_low"] <= c["value_high"]).all()
    total, variance = float(c["value"].sum()), float(c["variance"].sum())
    low, high = full.interval(total, variance)
    assert 0 <= low < total < high
    half = Terms(horizon_days=60, discount=0.0, margin=0.5)
    less = predict(days, as_of=179, terms=half, rng=np.random.default_rng(1))
    assert less.customers["value"].sum() == pytest.approx(total / 2)
    late = Terms(horizon_days=60, discount=0.5)
    paid = predict(days, as_of=179, terms=late, rng=np.random.default_rng(1))
    assert total * 0.93 < float(paid.customers["value"].sum()) < total


def test_stage_values_by_hand() -> None:
    # from A half stay and half go to B; nobody leaves B, where one unit is earned a period
    moves = np.array([[5.0, 5.0], [0.0, 0.0]])
    value = summed_value(moves, np.array([0.0, 1.0]), gamma=0.5, periods=3)
    assert value == pytest.approx([0.0 + 0.5 * 0.5 + 0.25 * 0.75, 1 + 0.5 + 0.25])
