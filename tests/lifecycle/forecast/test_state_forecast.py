"""Moves between the seven states, their projection, its back-test, and what a state is worth."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from lifeloop.errors import InputError
from lifeloop.lifecycle.activity import STATES
from lifeloop.lifecycle.forecast import (
    POSSIBLE,
    MoveModel,
    backtest,
    fan,
    fit_moves,
    new_users_forecast,
    project,
    stage_worth,
)


def state_of(day: int, active: set[int]) -> str:
    """Return the state by the words of the spec, counted by hand."""
    before = [d for d in active if d < day]
    if day in active:
        if not before:
            return "new"
        gap = day - max(before)
        return "current" if gap <= 6 else "reactivated" if gap <= 29 else "resurrected"
    gap = day - max(before)
    return "at_risk_wau" if gap <= 6 else "at_risk_mau" if gap <= 29 else "dormant"


def panel(n_users: int, n_days: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        keen = rng.beta(0.4, 2.0)
        first = int(rng.integers(0, n_days // 2))
        active = {first} | {d for d in range(first + 1, n_days) if rng.random() < keen}
        rows += [
            (str(user), date(2025, 1, 1) + timedelta(d), state_of(d, active))
            for d in range(first, n_days)
        ]
    return pl.DataFrame(rows, schema=["user_id", "period", "state"], orient="row")


@pytest.fixture(scope="module")
def moves() -> MoveModel:
    return fit_moves(panel(150, 120, seed=3))


def test_every_move_that_happens_is_possible_and_every_possible_one_can_happen(
    moves: MoveModel,
) -> None:
    for at, row in zip(STATES, moves.counts, strict=True):
        seen = {to for to, n in zip(STATES, row, strict=True) if n}
        assert seen == set(POSSIBLE[at])
    assert moves.matrix.sum(axis=1) == pytest.approx(1)
    ruled_out = [[to not in POSSIBLE[at] for to in STATES] for at in STATES]
    assert (moves.matrix[np.array(ruled_out)] == 0).all()


def test_counts_are_those_of_a_hand_made_user() -> None:
    table = pl.DataFrame(
        [("u", date(2025, 1, 1) + timedelta(d), state_of(d, {0, 1, 9, 45})) for d in range(46)],
        schema=["user_id", "period", "state"],
        orient="row",
    )
    counts = fit_moves(table).counts
    at = STATES.index
    assert counts[at("new"), at("current")] == 1
    assert counts[at("at_risk_wau"), at("at_risk_wau")] == 10
    assert counts[at("at_risk_mau"), at("reactivated")] == 1
    assert counts[at("dormant"), at("resurrected")] == 1
    assert counts.sum() == 45


def test_a_projection_keeps_every_user(moves: MoveModel) -> None:
    start = np.array([3.0, 20, 1, 0, 40, 60, 300])
    arrivals = np.array([2.5, 0, 7])
    out = project(start, matrix=moves.matrix, arrivals=arrivals)
    assert out.sum(axis=1) == pytest.approx(start.sum() + arrivals.cumsum(), abs=1e-9)
    assert start.tolist() == [3, 20, 1, 0, 40, 60, 300]


def test_a_fan_holds_its_mean_and_opens_with_time(moves: MoveModel) -> None:
    start = np.array([3, 200, 10, 5, 400, 600, 3000])
    out = fan(start, moves=moves, arrivals=np.full(20, 5.0), rng=np.random.default_rng(2))
    assert (out.low <= out.mean + 1).all()
    assert (out.mean - 1 <= out.high).all()
    dormant = STATES.index("dormant")
    width = (out.high - out.low)[:, dormant]
    assert width[-1] > width[0]


def test_new_users_repeat_their_weekdays() -> None:
    week = np.array([1.0, 2, 3, 4, 5, 0, 0])
    assert new_users_forecast(np.tile(week, 5), horizon=9).tolist() == [1, 2, 3, 4, 5, 0, 0, 1, 2]


def test_worth_is_the_discounted_sum(moves: MoveModel) -> None:
    reward = np.array([1.0, 2, 1.5, 1.5, 0, 0, 0])
    out = stage_worth(moves, reward=reward, gamma=0.9, rng=np.random.default_rng(4))
    summed, power = np.zeros(7), np.eye(7)
    for t in range(400):
        summed += 0.9**t * power @ reward
        power = power @ moves.matrix
    assert out.value == pytest.approx(summed)
    assert (out.low <= out.value).all()
    assert (out.value <= out.high).all()
    assert out.best_move[2] > 0
    assert "not the effect of moving someone" in out.caveat


def test_a_backtest_reads_only_what_came_before() -> None:
    table = panel(300, 100, seed=5)
    first_held_out = date(2025, 1, 1) + timedelta(86)
    moves = fit_moves(table.filter(pl.col("period") < first_held_out))
    wide = table.group_by("period", "state").len().pivot("state", index="period", values="len")
    daily = wide.sort("period").select(STATES).fill_null(0).to_numpy().astype(np.float64)
    out = backtest(daily, moves=moves, horizon=14)
    assert out.days == 14
    assert 0 < out.mape < 0.5
    changed = daily.copy()
    changed[-14:] *= 2
    doubled = backtest(changed, moves=moves, horizon=14)
    assert doubled.mape > out.mape


def test_input_that_makes_no_sense_is_refused(moves: MoveModel) -> None:
    days = [date(2025, 1, 1), date(2025, 1, 2)]
    jump = pl.DataFrame({"user_id": ["u", "u"], "period": days, "state": ["new", "dormant"]})
    with pytest.raises(InputError, match="cannot happen"):
        fit_moves(jump)
    with pytest.raises(InputError, match="unknown state"):
        fit_moves(jump.with_columns(state=pl.lit("asleep")))
    with pytest.raises(InputError, match="consecutive"):
        fit_moves(jump.head(1))
    with pytest.raises(InputError, match="two states"):
        fit_moves(pl.concat([jump, jump]))
    with pytest.raises(InputError, match="sum to 1"):
        project(np.ones(7), matrix=np.eye(7) * 2, arrivals=np.ones(1))
    with pytest.raises(InputError, match="no end"):
        stage_worth(moves, reward=np.ones(7), gamma=1.0, rng=np.random.default_rng(1))
    with pytest.raises(InputError, match="cannot be forecast"):
        new_users_forecast(np.ones(3), horizon=2)
