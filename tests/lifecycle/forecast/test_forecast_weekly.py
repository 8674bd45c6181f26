"""Flows from stretches, moves by weekday, what is to come with its band, and new users."""

import numpy as np
import polars as pl
import pytest

from lifeloop.errors import InputError, Unfit
from lifeloop.lifecycle.activity import STATES
from lifeloop.lifecycle.forecast import (
    POSSIBLE,
    Flows,
    ahead,
    error_widths,
    fit_weekly,
    flows_of,
    new_users_forecast,
    widened,
)
from lifeloop.lifecycle.forecast.flows import forecastable
from lifeloop.lifecycle.forecast.weekly import active_error, blended, expected_arrivals

AT = STATES.index


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


def stretches(days_of: dict[str, set[int]], *, last: int) -> pl.DataFrame:
    """Return the stretches of equal state of each user, from their active days."""
    rows: list[list[object]] = []
    for user, active in days_of.items():
        for day in range(min(active), last + 1):
            label = state_of(day, active)
            if rows and rows[-1][0] == user and rows[-1][1] == label:
                rows[-1][3] = day + 1
            else:
                rows.append([user, label, day, day + 1])
    return pl.DataFrame(rows, schema=["user_id", "label", "begin", "until"], orient="row")


def shop(
    n_users: int, n_days: int, seed: int, *, weekend: float = 0.3, closed: tuple[int, ...] = ()
) -> Flows:
    """Return the flows of users who come at their own rate, less so on days 5 and 6 of a week."""
    rng = np.random.default_rng(seed)
    days_of = {}
    for user in range(n_users):
        keen = rng.beta(0.6, 2.0)
        first = int(rng.integers(0, n_days))
        calm = np.where(np.arange(n_days) % 7 >= 5, weekend, 1.0)
        came = rng.random(n_days) < keen * calm
        came[list(closed)] = False
        days_of[str(user)] = {first} | {d for d in range(first + 1, n_days) if came[d]}
    return flows_of(stretches(days_of, last=n_days - 1), STATES, last=n_days - 1)


@pytest.fixture(scope="module")
def flows() -> Flows:
    return shop(400, 160, seed=3)


def test_flows_are_those_of_a_hand_made_user() -> None:
    rows = stretches({"u": {0, 1, 9, 45}}, last=45)
    made = flows_of(rows, STATES, last=45)
    assert made.counts.sum(axis=1).tolist() == [1] * 46
    seen = [STATES[int(row.argmax())] for row in made.counts]
    assert seen == [state_of(d, {0, 1, 9, 45}) for d in range(46)]
    moved = made.moves.sum(axis=0)
    assert moved[AT("new"), AT("current")] == 1
    assert moved[AT("at_risk_wau"), AT("at_risk_wau")] == 10
    assert moved[AT("at_risk_mau"), AT("reactivated")] == 1
    assert moved[AT("dormant"), AT("resurrected")] == 1
    assert moved.sum() == 45
    assert made.arrivals.sum(axis=0).tolist() == [1, 0, 0, 0, 0, 0, 0]


def test_flows_keep_everybody_and_move_only_where_one_can(flows: Flows) -> None:
    assert flows.counts.sum(axis=1) == pytest.approx(flows.arrivals.sum(axis=1).cumsum())
    for day in range(1, len(flows.counts)):
        assert flows.moves[day].sum(axis=1) == pytest.approx(flows.counts[day - 1])
        arrived = flows.moves[day].sum(axis=0) + flows.arrivals[day]
        assert arrived == pytest.approx(flows.counts[day])
    for at, row in zip(STATES, flows.moves.sum(axis=0), strict=True):
        seen = {to for to, n in zip(STATES, row, strict=True) if n}
        assert seen <= set(POSSIBLE[at])
    assert flows.until(50).counts.tolist() == flows.counts[:50].tolist()


def test_chances_by_weekday_sum_to_one_and_leave_out_what_cannot_happen(flows: Flows) -> None:
    model = fit_weekly(flows)
    assert model.matrix.sum(axis=2) == pytest.approx(1)
    ruled_out = np.array([[to not in POSSIBLE[at] for to in STATES] for at in STATES])
    assert (model.matrix[:, ruled_out] == 0).all()
    assert (model.matrix[:, ~ruled_out] > 0).all()
    stays = model.matrix[:, AT("current"), AT("current")]
    weekend = np.array([(flows.first + d) % 7 for d in (5, 6)])
    assert stays[weekend].max() < np.delete(stays, weekend).min()


def test_a_forecast_keeps_every_user_whatever_the_blend(flows: Flows) -> None:
    want = flows.counts[-1].sum() + expected_arrivals(flows, 20).sum(axis=1).cumsum()
    for weight in (0.0, 0.5, 1.0):
        for base in ("last_week", "month_mean"):
            said = blended(flows, 20, base=base, weight=weight)
            assert said.sum(axis=1) == pytest.approx(want)
            assert (said >= 0).all()


def test_a_forecast_knows_the_weekend_and_beats_the_mean_of_all_days(flows: Flows) -> None:
    past, truth = flows.until(132), flows.counts[132:160]
    made = ahead(past, horizon=28, rng=np.random.default_rng(2))
    flat = np.tile(past.counts[-28:].mean(axis=0), (28, 1))
    assert active_error(flows, made.fan.mean, truth) < active_error(flows, flat, truth)


def test_bands_hold_what_comes_about_as_often_as_they_say() -> None:
    # The level of this shop jumps by a factor each week, which no drawn future knows
    inside, narrow = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        whole = drifting(rng)
        past, truth = whole.until(126), whole.counts[126:154]
        made = ahead(past, horizon=28, rng=rng)
        inside.append(float(((made.fan.low <= truth) & (truth <= made.fan.high)).mean()))
        assert made.origins > 5
        cut = ahead(past.until(30), horizon=28, rng=rng)  # too short to look back: no origin
        assert cut.origins == 0
        later = whole.counts[30:58]
        narrow.append(float(((cut.fan.low <= later) & (later <= cut.fan.high)).mean()))
    assert np.mean(inside) > 0.93
    assert np.mean(narrow) < np.mean(inside)


def drifting(rng: np.random.Generator) -> Flows:
    days, users = 154, 200
    level = np.repeat(np.exp(np.cumsum(rng.normal(0, 0.15, days // 7))), 7)
    keen = rng.beta(1, 3, users)
    days_of = {}
    for user in range(users):
        came = rng.random(days) < np.clip(keen[user] * level / level.mean(), 0, 0.95)
        days_of[str(user)] = {0} | set(np.flatnonzero(came).tolist())
    return flows_of(stretches(days_of, last=days - 1), STATES, last=days - 1)


def test_a_band_holds_its_mean_and_never_narrows_with_time(flows: Flows) -> None:
    made = ahead(flows, horizon=28, rng=np.random.default_rng(2))
    assert (made.fan.low <= made.fan.mean).all()
    assert (made.fan.mean <= made.fan.high).all()
    assert (made.fan.low >= 0).all()
    widths, origins = error_widths(
        flows, 28, lambda past: blended(past, 28, base=made.base, weight=made.weight)
    )
    assert origins == 15
    for day in range(7):
        assert (np.diff(widths[day::7], axis=0) >= 0).all()


def test_widths_are_the_root_mean_square_times_the_quantile() -> None:
    counts = np.full((70, 1), 99.5)
    counts[::2] = 199.5
    made = Flows(("only",), 0, counts, np.zeros((70, 1, 1)), np.zeros((70, 1)))
    # always said 99.5 one day ahead: ln 2 off on every other day, 7 origins a week apart
    widths, origins = error_widths(made, 1, lambda past: np.full((1, 1), 99.5))
    assert origins == 7
    days = [69 - 7 * k for k in range(7)]
    square = np.mean([np.log(2) ** 2 if d % 2 == 0 else 0.0 for d in days])
    # 43 days compared at a horizon of one day: 43 degrees of freedom, t = 2.0167
    assert widths[0, 0] == pytest.approx(2.0167 * np.sqrt(square), rel=1e-3)
    low, high = widened(np.array([[99.5]]), np.array([[90.0]]), np.array([[101.0]]), widths)
    assert (low[0, 0] + 0.5) * (high[0, 0] + 0.5) == pytest.approx(100**2)


def test_the_forecast_of_a_day_does_not_know_what_came_after(flows: Flows) -> None:
    changed = Flows(
        flows.names, flows.first, np.vstack([flows.counts[:130], 9 * flows.counts[130:]]),
        flows.moves, flows.arrivals,
    )  # fmt: skip
    one = ahead(flows.until(130), horizon=14, rng=np.random.default_rng(1))
    other = ahead(changed.until(130), horizon=14, rng=np.random.default_rng(1))
    assert one.fan.mean.tolist() == other.fan.mean.tolist()
    assert one.fan.high.tolist() == other.fan.high.tolist()


def test_new_users_repeat_their_weekdays_and_are_never_below_zero() -> None:
    week = np.array([1.0, 2, 3, 4, 5, 0, 0])
    assert new_users_forecast(np.tile(week, 5), horizon=9).tolist() == [1, 2, 3, 4, 5, 0, 0, 1, 2]
    with pytest.raises(InputError, match="cannot be forecast"):
        new_users_forecast(np.ones(3), horizon=2)
    with pytest.raises(InputError, match="cannot be forecast"):
        new_users_forecast(np.full(9, -1.0), horizon=2)
    with pytest.raises(InputError, match="number of days"):
        new_users_forecast(np.ones(9), horizon=0)


def test_logs_too_short_to_forecast_are_refused(flows: Flows) -> None:
    with pytest.raises(Unfit, match="too short"):
        forecastable(flows.until(20), horizon=5)
    with pytest.raises(Unfit, match="too short"):
        forecastable(flows.until(30), horizon=31)
    with pytest.raises(InputError, match="number of days"):
        forecastable(flows, horizon=0)
    with pytest.raises(Unfit, match="nobody is there"):
        flows_of(stretches({"u": {5}}, last=9), STATES, last=3)


def test_a_day_on_which_nobody_came_promises_no_more_people_than_there_are() -> None:
    flows = shop(400, 160, seed=3, closed=(147,))
    found = ahead(flows, horizon=14, rng=np.random.default_rng(0), n=100)
    everybody = flows.counts[-1].sum()
    arrivals = found.fan.mean.sum(axis=1)[-1] - everybody
    widths, _ = error_widths(
        flows, 14, lambda past: blended(past, 14, base=found.base, weight=found.weight)
    )
    _, uncapped = widened(found.fan.mean, found.fan.low, found.fan.high, widths)
    assert uncapped.max() > 2 * everybody  # what the errors alone would say
    assert found.fan.high.max() <= everybody + 3 * arrivals + 30
    assert (found.fan.high >= found.fan.mean - 1e-9).all()
