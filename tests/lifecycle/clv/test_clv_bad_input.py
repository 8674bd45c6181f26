"""Every registered purchase model over bad input: a finite answer, or an error that says what."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import betaincinv

from lifeloop.errors import InputError, Unfit
from lifeloop.lifecycle.clv import Estimate, Histories, PurchaseModel, fit_purchases, fit_spend
from lifeloop.lifecycle.clv.formulas import alive_and_gone, expected_repeats
from lifeloop.lifecycle.clv.purchases import NAMES, Name
from lifeloop.lifecycle.clv.slopes import with_slopes

Floats = NDArray[np.float64]

MODELS: list[Name] = ["nbd", "bg", "mbg", "pareto", "bgbb", "pareto_cov"]


def of(*rows: tuple[float, float, float], unit: str = "week") -> Histories:
    x, t_x, age = np.array(rows, np.float64).T.copy()
    return Histories(x, t_x, age, unit, np.arange(len(x)).astype(np.float64)[:, None] % 2, ("z",))


def given(name: Name, unit: str = "week", change: dict[str, float] | None = None) -> PurchaseModel:
    theta = {"nbd": [0.5, 6.0], "bg": [0.24, 4.4, 0.8, 2.4], "mbg": [0.5, 6.0, 0.4, 1.0]}.get(
        name, [0.55, 10.6, 0.6, 11.7]
    )
    values = np.array([*theta, *([0.2, -0.1] if name == "pareto_cov" else [])])
    names = (*NAMES[name], *(["buys.z", "leaves.z"] if name == "pareto_cov" else []))
    for key, value in (change or {}).items():
        values[names.index(key)] = value
    free = 2 if name == "pareto_cov" else 0
    return PurchaseModel(name, unit, Estimate(names, values, 0.0, 1, None, free))


def test_the_list_holds_every_registered_model() -> None:
    assert sorted(MODELS) == sorted(NAMES)


BAD: dict[str, Histories] = {
    "one customer, one purchase": of((0, 0, 10)),
    "one customer": of((4, 9, 10)),
    "all bought once": of(*[(0, 0, n) for n in range(1, 60)]),
    "all bought today": of(*[(0, 0, 0)] * 50),
    "all identical": of(*[(2, 3, 5)] * 50),
    "two customers": of((1, 2, 9), (3, 6, 9)),
    "one repeat among many": of((1, 1, 9), *[(0, 0, n % 9 + 1) for n in range(80)]),
    "nobody leaves": of(*[(n % 7 + 1, 20, 20) for n in range(60)]),
    "users of every day": of(*[(300 + n, 52, 52 + n / 7) for n in range(50)]),
    "a few buy a thousand times": of(*[(n % 3, n % 3, 9) for n in range(99)], (1000, 200, 201)),
    "centuries": of(*[(n % 4, (n % 4) * 400, 9000 + n) for n in range(80)]),
    "minutes": of(*[(n % 4, (n % 4) / 700, 0.02 + n / 9000) for n in range(80)]),
}


@pytest.mark.parametrize("log", list(BAD))
@pytest.mark.parametrize("name", MODELS)
def test_a_fit_is_finite_or_says_what_to_try(name: Name, log: str) -> None:
    h = BAD[log]
    try:
        model = fit_purchases(h, name=name)
    except InputError as fault:
        text = str(fault)
        assert len(text) > 40, text
        assert any(word in text for word in ("use", "read", "try", "leave", "count")), text
        return
    errors = model.estimate.standard_errors
    assert np.isfinite(model.estimate.values).all()
    assert errors is None or np.isfinite(errors).all()
    alive, ahead = model.p_alive(h), model.next_purchases(h, t=10)
    assert ((alive >= 0) & (alive <= 1)).all()
    assert (np.isfinite(ahead) & (ahead >= 0)).all()


@pytest.mark.parametrize("name", MODELS)
def test_nothing_to_learn_from_is_refused_by_every_model(name: Name) -> None:
    for log in ("one customer", "all identical", "all bought once", "all bought today"):
        with pytest.raises(Unfit):
            fit_purchases(BAD[log], name=name)


@pytest.mark.parametrize("a", [0.1, 0.8, 3.0, 300.0, 1e5])
@pytest.mark.parametrize("x", [0, 3, 200, 5000])
def test_purchases_to_come_are_the_integral_over_the_chance_of_leaving(a: float, x: int) -> None:
    # E[(1 - (α/(α + p t))^r)/p], p ~ beta(a, b + x), for one who is alive, by simulation-free
    # integration in steps of the quantiles of p
    b, r, alpha = 2.4, 0.24 + x, 4.4 + 20 * (x > 0) + x / 3
    model = given("bg", change={"a": a, "b": b, "r": 0.24, "alpha": 4.4})
    h = of((x, 0.0 if x == 0 else 20 + x / 3 - 1e-6, 20 * (x > 0) + x / 3))
    p = np.maximum(betaincinv(a, b + x, (np.arange(200_000) + 0.5) / 200_000), 1e-300)
    for t in (1.0, 50.0, 1000.0):
        want = float(np.mean(-np.expm1(-r * np.log1p(p * t / alpha)) / p))
        got = float(model.next_purchases(h, t=t)[0] / model.p_alive(h)[0])
        assert got == pytest.approx(want, rel=2e-3), t


@pytest.mark.parametrize("name", [n for n in MODELS if n != "bgbb"])
def test_a_log_of_use_is_sent_to_bgbb_and_bgbb_takes_it(name: Name) -> None:
    with pytest.raises(Unfit, match="bgbb"):
        fit_purchases(BAD["users of every day"], name=name)


@pytest.mark.parametrize("name", MODELS)
def test_time_units_cannot_be_mixed(name: Name) -> None:
    model, h = given(name), of((1, 2, 9), (3, 6, 9), unit="day")
    for call in (model.p_alive, lambda h: model.next_purchases(h, t=3)):
        with pytest.raises(InputError, match="different time units"):
            call(h)


@pytest.mark.parametrize("name", MODELS)
def test_a_history_without_length_is_known_to_be_alive(name: Name) -> None:
    h = of((0, 0, 0), (0, 0, 0))
    with np.errstate(all="raise"):
        # MBG/NBD lets a customer leave right after the first purchase, b/(a + b) stay
        want = 1.0 / 1.4 if name == "mbg" else 1.0
        assert given(name).p_alive(h) == pytest.approx(want)
        assert given(name).next_purchases(h, t=0) == pytest.approx(0)


@pytest.mark.parametrize("name", MODELS)
def test_extreme_histories_give_chances_without_a_warning(name: Name) -> None:
    rows = [(0, 0, 3000), (1, 1, 3000), (60, 70, 2000), (60, 3000, 3000), (1, 2999, 3000)]
    if name != "bgbb":
        rows += [(1000, 10, 100), (5000, 3000, 3000)]  # more than one a day
    h = of(*[(float(x), t, a) for x, t, a in rows], unit="day" if name == "bgbb" else "week")
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        alive = given(name, h.unit).p_alive(h)
        ahead = given(name, h.unit).next_purchases(h, t=500)
    assert (np.isfinite(alive) & (alive >= 0) & (alive <= 1)).all()
    assert (np.isfinite(ahead) & (ahead >= 0)).all()
    if name == "nbd":  # nobody ever leaves
        assert (alive == 1).all()
    else:
        assert alive[2] < 1e-3 < 0.9 < alive[3]


@pytest.mark.parametrize("name", MODELS)
def test_expectations_are_monotone_and_continuous_where_the_formula_is_not(name: Name) -> None:
    # a + b < 1 and a = 1 (BG, MBG), s = 1 (Pareto), γ = 1 (BG/BB): 0/0 in the closed form
    edge: dict[Name, list[dict[str, float]]] = {
        "bg": [{"a": 0.31, "b": 0.50}, {"a": 1.0}],
        "mbg": [{"a": 0.31, "b": 0.50}, {"a": 1.0}],
        "pareto": [{"s": 1.0}],
        "pareto_cov": [{"s": 1.0}],
        "bgbb": [{"gamma": 1.0}],
    }
    h = of((2, 30.43, 38.86), (0, 0, 1))
    for change in edge.get(name, [{}]):
        model = given(name, change=change)
        ahead = np.array([model.next_purchases(h, t=t) for t in (0.0, 1.0, 30.0, 300.0)])
        assert np.isfinite(ahead).all()
        assert (np.diff(ahead, axis=0) > 0).all()
        near = given(name, change={key: value * (1 + 1e-5) for key, value in change.items()})
        assert near.next_purchases(h, t=30) == pytest.approx(ahead[2], rel=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_a_new_customer_and_a_history_without_length_expect_the_same(name: Name) -> None:
    model = given(name)
    h = Histories(np.zeros(1), np.zeros(1), np.zeros(1), "week", np.zeros((1, 1)), ("z",))
    for t in (1.0, 20.0):
        fresh = expected_repeats(name, model.estimate.values, np.array([t]), unit="week")
        assert model.next_purchases(h, t=t) == pytest.approx(fresh)


def test_spend_without_a_mean_is_named() -> None:
    # one gamma per customer whose rate has a heavy tail: q is below 1, so that no mean exists
    rng = np.random.default_rng(6)
    x = rng.integers(1, 6, 800).astype(float)
    rate = rng.gamma(0.6, 1 / 8.0, 800)
    money = rng.gamma(2.0 * x) / (rate * x)
    with pytest.raises(Unfit, match=r"q is not above 1.*capped"):
        fit_spend(x, money)


def test_too_few_spends_are_refused() -> None:
    for money in ([], [5.0], [5.0, 5.0]):
        with pytest.raises(Unfit, match="does not vary"):
            fit_spend(np.ones(len(money)), np.array(money))


@pytest.mark.parametrize("x", [0.0, 1.0, 7.0])
@pytest.mark.parametrize("scale", [1e-22, 1e-9, 1.0, 1e9, 1e22])
def test_pareto_rates_far_apart_give_what_the_quadrature_gives(x: float, scale: float) -> None:
    h = of((x, 0.0 if x == 0 else 5.0, 9.0))
    for r, s in ((0.4, 0.3), (2.0, 1.7)):
        for theta in ([r, scale, s, 3.0], [r, 3.0, s, scale]):
            with np.errstate(divide="raise", invalid="raise", over="raise"):
                closed = np.logaddexp(*alive_and_gone("pareto", np.array(theta), h))
            quadrature = with_slopes("pareto", np.array(theta), h)[0]
            assert closed == pytest.approx(quadrature, rel=1e-6, abs=1e-6)
