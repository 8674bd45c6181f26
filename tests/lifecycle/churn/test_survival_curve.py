"""Kaplan-Meier, log-rank and Cox: hand counts, lifelines as the oracle, what is refused."""

import numpy as np
import polars as pl
import pytest

from lifeloop.errors import InputError, Unfit
from lifeloop.lifecycle.churn import fit_cox, kaplan_meier, logrank


def array(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(values, np.float64)


def flags(*values: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.array(values, bool)


def test_four_people_by_hand() -> None:
    curve = kaplan_meier(array(1, 2, 3, 4), flags(1, 0, 1, 1))
    assert curve.time.tolist() == [1, 3, 4]
    assert curve.at_risk.tolist() == [4, 2, 1]
    assert curve.survival == pytest.approx([3 / 4, 3 / 8, 0])
    assert curve.median == 3
    assert curve.at(0.5) == 1
    assert curve.at(3.9) == pytest.approx(3 / 8)
    assert (curve.low <= curve.survival).all()
    assert (curve.survival <= curve.high).all()


def test_who_enters_late_is_not_at_risk_before() -> None:
    late = kaplan_meier(array(2, 5, 6), flags(1, 1, 1), entry=array(0, 3, 0))
    assert late.at_risk.tolist() == [2, 2, 1]


def test_logrank_of_two_groups_by_hand() -> None:
    # times 1 (group 0 of 2+2), 2 (group 1 of 1+2): O0 = 1, E0 = 1/2 + 1/3, V = 1/4 + 2/9
    chi2, p = logrank(array(1, 3, 2, 4), flags(1, 0, 1, 0), np.array([0, 0, 1, 1]))
    assert chi2 == pytest.approx((1 - 5 / 6) ** 2 / (1 / 4 + 2 / 9))
    assert 0 < p < 1


def test_durations_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="after its entry"):
        kaplan_meier(array(3, 5), flags(1, 1), entry=array(3, 0))
    with pytest.raises(InputError, match="after its entry"):
        kaplan_meier(array(0, 5), flags(1, 1))
    with pytest.raises(InputError, match="finite"):
        kaplan_meier(array(np.nan, 5), flags(1, 1))
    with pytest.raises(Unfit, match="nobody to watch"):
        kaplan_meier(array(), flags())
    with pytest.raises(Unfit, match="nobody has ended"):
        kaplan_meier(array(3, 5), flags(0, 0))
    with pytest.raises(Unfit, match="nothing to compare"):
        logrank(array(3, 5), flags(1, 1), np.array([1, 1]))


@pytest.mark.extras
def test_waltons_gives_the_published_numbers() -> None:
    from lifelines.datasets import load_waltons

    table = load_waltons()
    duration, ended = table["T"].to_numpy(np.float64), table["E"].to_numpy() == 1
    curve = kaplan_meier(duration, ended)
    assert curve.median == 56
    assert curve.at(50) == pytest.approx(0.616817, abs=1e-6)
    group = (table["group"] == "control").to_numpy().astype(np.int64)
    assert logrank(duration, ended, group)[0] == pytest.approx(122.2491, abs=1e-4)


@pytest.mark.extras
def test_curve_and_interval_are_those_of_lifelines() -> None:
    from lifelines import KaplanMeierFitter

    rng = np.random.default_rng(3)
    entry = rng.integers(0, 10, 300).astype(np.float64)
    duration = entry + rng.integers(1, 40, 300)
    ended = rng.random(300) < 0.7
    curve = kaplan_meier(duration, ended, entry=entry)
    oracle = KaplanMeierFitter().fit(duration, ended, entry=entry)
    want = oracle.survival_function_.iloc[:, 0]
    some = curve.survival > 0
    assert curve.survival == pytest.approx([want[t] for t in curve.time])
    bounds = oracle.confidence_interval_
    assert curve.low[some] == pytest.approx([bounds.iloc[:, 0][t] for t in curve.time[some]])
    assert curve.high[some] == pytest.approx([bounds.iloc[:, 1][t] for t in curve.time[some]])


def people(n: int = 400, effect: float = 0.7) -> pl.DataFrame:
    rng = np.random.default_rng(8)
    z = rng.integers(0, 2, n)
    time = rng.exponential(1 / (0.1 * np.exp(effect * z)))
    seen = time < 15
    return pl.DataFrame(
        {
            "t": np.minimum(time, 15),
            "e": seen,
            "channel": np.where(z == 1, "ads", "friends"),
            "age": rng.normal(40, 10, n),
        }
    )


@pytest.mark.extras
def test_cox_finds_the_true_ratio_and_the_maximum_of_the_partial_likelihood() -> None:
    table = people()
    found = fit_cox(table, duration="t", ended="e", covariates=["channel"])
    row = found.rows.row(0, named=True)
    true = np.exp(0.7 if row["covariate"] == "channel=ads" else -0.7)
    assert row["hazard_ratio_low"] < true < row["hazard_ratio_high"]
    assert row["p_proportional"] > 0.01
    assert 0.5 < found.concordance < 0.7
    # no ties: the partial likelihood by its definition, on a grid
    t, e = table["t"].to_numpy(), table["e"].to_numpy()
    z = (table["channel"] == row["covariate"].split("=")[1]).to_numpy().astype(float)

    def likelihood(b: float) -> float:
        return float(sum(b * z[i] - np.log(np.exp(b * z[t >= t[i]]).sum()) for i in np.where(e)[0]))

    grid = np.linspace(-2, 2, 4001)
    best = grid[np.argmax([likelihood(b) for b in grid[::40]]) * 40]
    fine = np.linspace(best - 0.05, best + 0.05, 101)
    best = fine[np.argmax([likelihood(b) for b in fine])]
    assert np.log(row["hazard_ratio"]) == pytest.approx(best, abs=2e-3)


@pytest.mark.extras
@pytest.mark.parametrize("flat", [pl.lit(1.0), pl.lit(value=True), pl.lit("ads")])
def test_a_covariate_that_is_the_same_for_everybody_is_told_and_the_others_are_fitted(
    flat: pl.Expr,
) -> None:
    table = people(200).with_columns(flat=flat)
    alone = fit_cox(table, duration="t", ended="e", covariates=["channel"])
    found = fit_cox(table, duration="t", ended="e", covariates=["flat", "channel"])
    assert found.rows.filter(pl.col("covariate") != "flat").equals(alone.rows)
    (row,) = found.rows.filter(pl.col("covariate") == "flat").iter_rows(named=True)
    assert row["reason"] == "everybody has the same value"
    assert row["hazard_ratio"] is row["p"] is row["p_proportional"] is None
    assert found.concordance == alone.concordance


@pytest.mark.extras
def test_covariates_that_cannot_be_used_are_refused_by_name() -> None:
    table = people(80)

    def fit(frame: pl.DataFrame, *names: str, **more: str) -> None:
        fit_cox(frame, duration="t", ended="e", covariates=list(names), **more)

    with pytest.raises(InputError, match=r"missing values.*age"):
        fit(table.with_columns(age=pl.when(pl.col("age") > 40).then("age")), "age")
    with pytest.raises(InputError, match="missing values"):
        fit(table.with_columns(age=pl.lit(float("nan"))), "age")
    with pytest.raises(InputError, match="not there"):
        fit(table, "shoe_size")
    with pytest.raises(Unfit, match=r"do not vary.*channel"):
        fit(table.with_columns(channel=pl.lit("ads")), "channel")
    separated = table.with_columns(e=pl.col("channel") == "ads")
    with pytest.raises(Unfit, match="separates perfectly"):
        fit(separated, "channel")
    ordered = table.with_columns(age=-pl.col("t"), e=pl.lit(value=True)).unique("t")
    with pytest.raises(Unfit, match="separates perfectly"):
        fit(ordered, "age")
    with pytest.raises(Unfit, match="separates perfectly"):
        fit(ordered.with_columns(early=(pl.col("t") < 4).cast(pl.Float64)), "early")
    with pytest.raises(Unfit, match="separates perfectly"):
        fit(ordered.with_columns(age=pl.col("t"), s=pl.lit(0.0)), "age", entry="s")
    noise = pl.Series(np.random.default_rng(3).normal(size=ordered.height))
    with pytest.raises(Unfit, match="together separate"):
        fit(ordered.with_columns(a=pl.col("age") + noise * 20, b=noise), "a", "b")
    with pytest.raises(Unfit, match="nobody has ended"):
        fit(table.with_columns(e=pl.lit(value=False)), "age")
    with pytest.raises(InputError, match="after its entry"):
        fit(table.with_columns(s=pl.col("t")), "age", entry="s")
    twice = table.with_columns(again=pl.col("age") * 2)
    with pytest.raises(Unfit, match="did not converge"):
        fit(twice, "age", "again")
