"""BG/BB and Pareto/NBD with covariates: published numbers, definitions, recovery, refusals."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import gamma as gamma_law

from lifeloop.errors import InputError, Unfit
from lifeloop.lifecycle.clv import (
    Estimate,
    Histories,
    PurchaseModel,
    covariates_of,
    fit_purchases,
)
from lifeloop.lifecycle.clv.formulas import alive_and_gone
from lifeloop.lifecycle.clv.futures import purchases_drawn
from lifeloop.lifecycle.clv.slopes import with_slopes

Floats = NDArray[np.float64]

DONATIONS = {
    (0, 0): 3464, (1, 1): 1091, (1, 2): 277, (1, 3): 129, (1, 4): 78, (1, 5): 119, (1, 6): 129,
    (2, 2): 613, (2, 3): 255, (2, 4): 155, (2, 5): 173, (2, 6): 234, (3, 3): 322, (3, 4): 181,
    (3, 5): 225, (3, 6): 357, (4, 4): 240, (4, 5): 284, (4, 6): 512, (5, 5): 335, (5, 6): 728,
    (6, 6): 1203,
}  # fmt: skip
"""Fader, Hardie & Shang (2010), table 2: (repeats, last of six opportunities) to donors."""


@pytest.fixture(scope="module")
def donors() -> Histories:
    rows = np.repeat(np.array(list(DONATIONS), np.float64), list(DONATIONS.values()), axis=0)
    return Histories(rows[:, 0], rows[:, 1], np.full(len(rows), 6.0), "day")


@pytest.fixture(scope="module")
def bgbb(donors: Histories) -> PurchaseModel:
    return fit_purchases(donors, name="bgbb")


def some(*rows: tuple[float, float, float]) -> Histories:
    x, t_x, age = np.array(rows, np.float64).T.copy()
    return Histories(x, t_x, age, "day")


def test_bgbb_gives_the_published_parameters(bgbb: PurchaseModel) -> None:
    assert bgbb.estimate.n == 11104
    assert bgbb.estimate.values == pytest.approx([1.204, 0.750, 0.657, 2.783], abs=0.001)
    assert bgbb.estimate.log_likelihood == pytest.approx(-33225.6, abs=0.05)
    errors = bgbb.estimate.standard_errors
    assert errors is not None
    assert (errors > 0).all()
    assert (errors < 0.5 * bgbb.estimate.values).all()


def test_bgbb_gives_the_numbers_of_lifetimes(bgbb: PurchaseModel) -> None:
    # BetaGeoBetaBinomFitter 0.11.3 fitted to the same donors
    h = some((0, 0, 6), (4, 4, 6), (6, 6, 6), (5, 6, 6), (1, 3, 6))
    ahead = [0.072863, 0.583192, 3.752544, 3.231612, 0.593854]
    assert bgbb.next_purchases(h, t=5) == pytest.approx(ahead, abs=2e-4)
    alive = [0.116218, 0.215146, 1.0, 1.0, 0.517346]
    assert bgbb.p_alive(h) == pytest.approx(alive, abs=2e-4)


def test_bgbb_likelihoods_of_all_histories_add_up_to_one() -> None:
    # of three days there are 8 histories by day; (x, t_x) stands for C(t_x - 1, x - 1) of them
    theta = np.array([0.7, 2.1, 0.6, 3.3])
    ways = {(0, 0): 1, (1, 1): 1, (1, 2): 1, (1, 3): 1, (2, 2): 1, (2, 3): 2, (3, 3): 1}
    h = some(*[(x, t, 3) for x, t in ways])
    chance = np.exp(np.logaddexp(*alive_and_gone("bgbb", theta, h)))
    assert float(chance @ np.array(list(ways.values()))) == pytest.approx(1.0, abs=1e-12)


def test_bgbb_bears_users_of_every_day_where_the_others_refuse() -> None:
    rng = np.random.default_rng(3)
    n, days = 300, 400
    chance, leaving = rng.beta(6, 2, n), rng.beta(1, 600, n)
    lived = np.minimum(rng.geometric(leaving) - 1, days)
    bought = (rng.random((n, days)) < chance[:, None]) & (np.arange(days) < lived[:, None])
    x = bought.sum(axis=1).astype(float)
    t_x = np.where(x > 0, days - np.argmax(bought[:, ::-1], axis=1), 0).astype(float)
    h = Histories(x, t_x, np.full(n, float(days)), "day")
    with pytest.raises(Unfit, match="use the bgbb model"):
        fit_purchases(h, name="bg")
    model = fit_purchases(h, name="bgbb")
    alpha, beta, _, _ = model.estimate.values
    assert alpha / (alpha + beta) == pytest.approx(0.75, abs=0.03)
    alive = (lived == days).mean()
    assert model.p_alive(h).mean() == pytest.approx(alive, abs=0.03)


def test_bgbb_refuses_more_purchases_than_days() -> None:
    with pytest.raises(Unfit, match="one purchase a day"):
        fit_purchases(some((3, 2, 5), (1, 2, 5), (0, 0, 4)), name="bgbb")


def shoppers(n: int = 6000, seed: int = 5) -> tuple[Histories, dict[str, float]]:
    """A Pareto/NBD population whose rate and leaving depend on one yes-or-no covariate."""
    rng = np.random.default_rng(seed)
    true = {"r": 0.8, "alpha": 6.0, "s": 0.7, "beta": 12.0, "buys": 0.6, "leaves": -0.8}
    z = (rng.random(n) < 0.4).astype(float)
    age = rng.uniform(30, 80, n)
    rate = rng.gamma(true["r"], np.exp(true["buys"] * z) / true["alpha"])
    life = rng.exponential(1, n) / rng.gamma(true["s"], np.exp(true["leaves"] * z) / true["beta"])
    watched = np.minimum(age, life)
    x = rng.poisson(rate * watched).astype(float)
    # of x uniform points of (0, watched] the last is the largest
    t_x = np.where(x > 0, watched * rng.random(n) ** (1 / np.maximum(x, 1)), 0.0)
    return Histories(x, t_x, age, "week", z[:, None], ("vip",)), true


@pytest.fixture(scope="module")
def told() -> tuple[Histories, dict[str, float], PurchaseModel]:
    h, true = shoppers()
    return h, true, fit_purchases(h, name="pareto_cov")


def test_covariates_are_recovered_within_their_standard_errors(
    told: tuple[Histories, dict[str, float], PurchaseModel],
) -> None:
    _, true, model = told
    assert model.estimate.names == ("r", "alpha", "s", "beta", "buys.vip", "leaves.vip")
    errors = model.estimate.standard_errors
    assert errors is not None
    off = (model.estimate.values - np.array(list(true.values()))) / errors
    assert (np.abs(off) < 3).all(), off
    assert abs(model.estimate.values[4]) > 4 * errors[4]


def test_without_effects_the_covariates_change_nothing(
    told: tuple[Histories, dict[str, float], PurchaseModel],
) -> None:
    h = told[0]
    plain = fit_purchases(h, name="pareto")
    flat = Estimate(
        told[2].estimate.names, np.append(plain.estimate.values, [0.0, 0.0]), 0.0, 1, None, free=2
    )
    same = replace(told[2], estimate=flat)
    assert same.p_alive(h) == pytest.approx(plain.p_alive(h))
    assert same.next_purchases(h, t=9) == pytest.approx(plain.next_purchases(h, t=9))
    assert told[2].estimate.log_likelihood > plain.estimate.log_likelihood + 10


def test_scale_and_origin_of_a_covariate_do_not_matter(
    told: tuple[Histories, dict[str, float], PurchaseModel],
) -> None:
    h = told[0]
    part = h.rows(np.arange(2000))
    one = fit_purchases(part, name="pareto_cov")
    moved = replace(part, z=1e4 + 500 * part.covariates())
    other = fit_purchases(moved, name="pareto_cov")
    assert other.estimate.values[4:] * 500 == pytest.approx(one.estimate.values[4:], abs=1e-3)
    said, again = one.next_purchases(part, t=20), other.next_purchases(moved, t=20)
    assert again == pytest.approx(said, rel=1e-3, abs=1e-4)


def test_pareto_with_covariates_is_the_integral_it_is_defined_by() -> None:
    theta = np.array([0.8, 6.0, 0.7, 12.0, 0.6, -0.8])
    z = np.array([[1.0], [0.0]])
    h = Histories(
        np.array([2.0, 2.0]), np.array([5.0, 5.0]), np.array([9.0, 9.0]), "week", z, ("v",)
    )
    got = np.logaddexp(*alive_and_gone("pareto_cov", theta, h))
    for at, one in enumerate(z[:, 0]):
        alpha, beta = 6 * np.exp(-0.6 * one), 12 * np.exp(0.8 * one)

        def given(rate: float, alpha: float = alpha, beta: float = beta) -> float:
            # the moment of leaving has the density s β^s (β + y)^-(s + 1)
            def gone(y: float) -> float:
                return float(0.7 * beta**0.7 * (beta + y) ** -1.7 * np.exp(-rate * y))

            alive = (beta / (beta + 9)) ** 0.7 * np.exp(-rate * 9)
            chance = rate**2 * float(alive + quad(gone, 5, 9)[0])
            return chance * float(gamma_law.pdf(rate, 0.8, scale=1 / alpha))

        want = quad(given, 0, np.inf)[0]
        assert got[at] == pytest.approx(np.log(want), abs=1e-6)


@pytest.mark.parametrize("name", ["nbd", "bg", "mbg", "pareto", "bgbb", "pareto_cov"])
def test_gradients_are_those_of_the_likelihood(name: str) -> None:
    rng = np.random.default_rng(2)
    n = 60
    x = rng.integers(0, 6, n).astype(float)
    t_x = np.where(x > 0, x + rng.integers(0, 30, n), 0).astype(float)
    age = t_x + rng.integers(0, 40, n).astype(float) * (rng.random(n) < 0.9)
    h = Histories(x, t_x, age, "day", rng.normal(size=(n, 2)), ("a", "b"))
    size = {"nbd": 2, "pareto_cov": 8}.get(name, 4)
    theta = np.array([0.7, 5.0, 0.9, 7.0, 0.3, -0.2, 0.1, 0.4])[:size]
    value, slope = with_slopes(name, theta, h)
    closed = np.logaddexp(*alive_and_gone(name, theta, h))
    assert value == pytest.approx(closed, abs=1e-8)
    for p in range(size):
        step = np.zeros(size)
        step[p] = 1e-5 * max(theta[p], 0.1)
        up, down = with_slopes(name, theta + step, h)[0], with_slopes(name, theta - step, h)[0]
        assert slope[:, p] == pytest.approx((up - down) / (2 * step[p]), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["nbd", "bg", "mbg", "pareto", "bgbb", "pareto_cov"])
def test_drawn_futures_have_the_expected_mean(name: str) -> None:
    theta = np.array([0.7, 5.0, 0.9, 7.0, 0.3, -0.2])
    theta = theta[: {"nbd": 2, "pareto_cov": 6}.get(name, 4)]
    z = np.array([[1.0], [0.0], [0.5]])
    x, t_x, age = np.array([[3, 20, 25], [0, 0, 12], [6, 30, 60]], np.float64).T.copy()
    h = Histories(x, t_x, age, "day", z, ("v",))
    free = 2 if name == "pareto_cov" else 0
    found = Estimate(tuple("abcdef"[: len(theta)]), theta, 0.0, 3, None, free)
    model = PurchaseModel(name, "day", found)  # type: ignore[arg-type]
    drawn = purchases_drawn(model, h, t=30.0, rng=np.random.default_rng(4), n=40_000)
    want = model.next_purchases(h, t=30.0)
    error = drawn.std(axis=1) / np.sqrt(40_000)
    assert (np.abs(drawn.mean(axis=1) - want) < 5 * error + 1e-9).all()


def test_totals_have_an_interval(
    bgbb: PurchaseModel, donors: Histories, told: tuple[Histories, dict[str, float], PurchaseModel]
) -> None:
    for model, h in ((bgbb, donors), (told[2], told[0])):
        low, high = model.total_interval(h, t=4, rng=np.random.default_rng(1))
        mean = float(model.next_purchases(h, t=4).sum())
        assert 0.8 * mean < low < mean < high < 1.2 * mean


def test_covariates_come_from_attributes_and_rare_values_join_the_most_frequent() -> None:
    users = pl.DataFrame({"user_id": [str(n) for n in range(200)]})
    channel = ["ads"] * 90 + ["friends"] * 70 + [None] * 35 + ["tv"] * 5
    traits = users.with_columns(channel=pl.Series(channel), age=pl.Series([30.0] * 200))
    z, names = covariates_of(users.reverse(), traits)
    assert names == ("channel=(unknown)", "channel=friends", "age")
    assert z.sum(axis=0).tolist() == [35, 70, 6000]
    assert z[-1].tolist() == [0, 0, 30]
    with pytest.raises(InputError, match="two rows of covariates"):
        covariates_of(users, pl.concat([traits, traits.head(1)]))


def test_covariates_that_cannot_be_used_are_refused_by_name() -> None:
    h, _ = shoppers(200)
    z = h.covariates()
    with pytest.raises(InputError, match=r"missing values.*vip"):
        replace(h, z=np.where(z > 0, np.nan, z))
    with pytest.raises(InputError, match="one row per customer"):
        replace(h, z=z[:5])
    with pytest.raises(InputError, match="have none"):
        fit_purchases(replace(h, z=None, z_names=()), name="pareto_cov")
    with pytest.raises(Unfit, match="do not vary"):
        fit_purchases(replace(h, z=np.ones_like(z)), name="pareto_cov")
    both = np.column_stack([z, 1 - z])
    with pytest.raises(Unfit, match="follows from the others"):
        fit_purchases(replace(h, z=both, z_names=("vip", "plain")), name="pareto_cov")
    with pytest.raises(Unfit, match="no covariate that varies"):
        fit_purchases(replace(h, z=np.empty((200, 0)), z_names=()), name="pareto_cov")
