"""The days to come: weekday moves, blended with what the same weekdays were, by hold-out.

H days ahead, S states, W = 7 weekdays.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifeloop.lifecycle.forecast.arrivals import SEASON, new_users_forecast
from lifeloop.lifecycle.forecast.flows import Flows
from lifeloop.lifecycle.forecast.widths import error_widths, widened

Floats = NDArray[np.float64]

WINDOW = 84
"""Newest days that the moves are learned from."""

PSEUDO = 20.0
"""People of the all-week row that each weekday's row is shrunk to."""

BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)
HOLD_OUTS = 3
ACTIVE = ("new", "current", "reactivated", "resurrected")


POSSIBLE: dict[str, tuple[str, ...]] = {
    "new": ("current", "at_risk_wau"),
    "current": ("current", "at_risk_wau"),
    "reactivated": ("current", "at_risk_wau"),
    "resurrected": ("current", "at_risk_wau"),
    "at_risk_wau": ("current", "reactivated", "at_risk_wau", "at_risk_mau"),
    "at_risk_mau": ("reactivated", "resurrected", "at_risk_mau", "dormant"),
    "dormant": ("resurrected", "dormant"),
}
"""Where a user of each activity state can be a day later, by the definition of the states."""


@dataclass(frozen=True, eq=False)
class Fan:
    """Expected users per day and state and their 95% interval, each [H, S]."""

    mean: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class Weekly:
    """Chances by weekday of the day moved into, [W, S, S], and the pseudo-counts behind them."""

    matrix: Floats
    pseudo: Floats
    shock: float
    tilt: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Ahead:
    """Expected users per day and state with intervals, and how they were made.

    ``base`` is "last_week" or "month_mean", ``weight`` its share; the rest is of the moves.
    ``origins`` are the earlier days whose errors the intervals were widened by; with 0 they are
    of chance and uncertain moves alone, and too narrow.
    """

    fan: Fan
    base: str
    weight: float
    origins: int


def fit_weekly(flows: Flows) -> Weekly:
    """Learn the moves of each weekday from the newest ``WINDOW`` days.

    Every row is (moves of that weekday + PSEUDO · row of all weekdays), normalised; the row of all
    weekdays is smoothed only over moves that can happen: ``POSSIBLE`` of activity states, of
    stages those that ever happened.
    """
    size = len(flows.names)
    window = slice(max(1, len(flows.counts) - WINDOW), None)
    moves, weekday = flows.moves[window], flows.weekday[window]
    pooled = moves.sum(axis=0) + 0.5 * _can_happen(flows)
    pooled /= pooled.sum(axis=1, keepdims=True)
    by_day = np.stack([moves[weekday == w].sum(axis=0) for w in range(SEASON)])  # [W, S, S]
    pseudo = by_day + PSEUDO * pooled
    matrix = pseudo / pseudo.sum(axis=2, keepdims=True)
    active = np.isin(flows.names, ACTIVE) if "dormant" in flows.names else np.ones(size, bool)
    tilt = np.broadcast_to(active, (size, size)) & ~np.eye(size, dtype=bool)
    return Weekly(matrix, pseudo, _shock(moves, weekday, matrix, tilt), tilt)


def ahead(flows: Flows, *, horizon: int, rng: np.random.Generator, n: int = 300) -> Ahead:
    """Return the users of each state on the days to come, with 95% intervals.

    The moves of each weekday project everybody (nobody is lost or made); new users come as their
    weekdays did. The result is blended with last week's or the last four weeks' numbers of the
    same weekday, whichever and as much as had been best in three earlier hold-outs of the same
    length; the blend keeps everybody too, the largest state takes up the difference. Intervals by
    parametric bootstrap: each future draws its moves (Dirichlet), a shock for each day as large as
    the days of the past differed from their weekday, and moves whole users by chance. They are
    never narrower than the errors of the same forecast from earlier days (``error_widths``), which
    also hold what no drawn future knows: a level that drifts, a season; and never above everybody
    there may be by then, which no error of a state's share can change.
    """
    base, weight = _blend(flows, horizon)
    mean = blended(flows, horizon, base=base, weight=weight)
    model = fit_weekly(flows)
    low, high, everybody = _futures(flows, model, horizon, rng, n)
    chain = blended(flows, horizon, base=base, weight=0.0)
    low, high = np.maximum(mean + low - chain, 0.0), np.maximum(mean + high - chain, mean)
    widths, origins = error_widths(
        flows, horizon, lambda past: blended(past, horizon, base=base, weight=weight)
    )
    low, high = widened(mean, low, high, widths)
    # one strange day among the errors widens a state: never to more people than there will be
    high = np.minimum(high, np.maximum(everybody, mean.sum(axis=1))[:, None])
    return Ahead(Fan(mean, low, high), base, weight, origins)


def _can_happen(flows: Flows) -> NDArray[np.bool_]:
    if "dormant" in flows.names:
        return np.array([[to in POSSIBLE[at] for to in flows.names] for at in flows.names])
    happened = flows.moves.sum(axis=0) > 0
    return np.asarray(happened | np.eye(len(flows.names), dtype=bool))


def blended(flows: Flows, horizon: int, *, base: str, weight: float) -> Floats:
    """Return expected users per day and state, [H, S]; ``weight`` of the base, rest of moves."""
    moved = _moved(flows, horizon)
    if weight == 0:
        return moved
    repeated = same_weekdays(flows, horizon, base)
    mixed = (1 - weight) * moved + weight * repeated
    everybody = moved.sum(axis=1)
    largest = int(flows.counts[-1].argmax())
    rest = np.delete(mixed, largest, axis=1).sum(axis=1)
    squeeze = np.minimum(1.0, everybody / np.maximum(rest, 1e-9))
    mixed *= squeeze[:, None]
    mixed[:, largest] = np.maximum(everybody - rest * squeeze, 0.0)
    return mixed


def same_weekdays(flows: Flows, horizon: int, base: str) -> Floats:
    """Return the numbers of last week, or the mean of the last four weeks, repeated, [H, S]."""
    weeks = 1 if base == "last_week" else min(4, len(flows.counts) // SEASON)
    week = flows.counts[-weeks * SEASON :].reshape(weeks, SEASON, -1).mean(axis=0)
    return np.asarray(np.resize(week, (horizon, week.shape[1])), np.float64)


def active_error(flows: Flows, said: Floats, truth: Floats) -> float:
    """Return the mean absolute percentage error of daily active users, or of every stage.

    Stages are told apart by having no "dormant": each stage with users counts alike.
    """
    if "dormant" in flows.names:
        at = np.isin(flows.names, ACTIVE)
        said, truth = (
            said[:, at].sum(axis=1, keepdims=True),
            truth[:, at].sum(axis=1, keepdims=True),
        )
    some = truth > 0
    if not some.any():
        return float("nan")
    return float((np.abs(said - truth)[some] / truth[some]).mean())


def _blend(flows: Flows, horizon: int) -> tuple[str, float]:
    errors: dict[tuple[str, float], list[float]] = {}
    for k in range(HOLD_OUTS):
        known = len(flows.counts) - (k + 1) * horizon
        if known < 3 * SEASON:
            break
        past, truth = flows.until(known), flows.counts[known : known + horizon]
        for base in ("last_week", "month_mean"):
            for weight in BLENDS:
                said = blended(past, horizon, base=base, weight=weight)
                errors.setdefault((base, weight), []).append(active_error(flows, said, truth))
    if not errors:
        return "month_mean", 0.5
    return min(errors, key=lambda key: float(np.mean(errors[key])))


def _moved(flows: Flows, horizon: int) -> Floats:
    model = fit_weekly(flows)
    arrivals = expected_arrivals(flows, horizon)
    out = np.empty((horizon, len(flows.names)))
    now = flows.counts[-1]
    for t in range(horizon):
        weekday = (flows.first + len(flows.counts) + t) % SEASON
        now = now @ model.matrix[weekday] + arrivals[t]
        out[t] = now
    return out


def expected_arrivals(flows: Flows, horizon: int) -> Floats:
    """Return first appearances per day and state to come, [H, S]: the weekday's of four weeks."""
    total = new_users_forecast(flows.arrivals.sum(axis=1), horizon=horizon)
    recent = flows.arrivals[-4 * SEASON :].sum(axis=0)
    if recent.sum() == 0:
        return np.zeros((horizon, len(flows.names)))
    return np.asarray(total[:, None] * recent / recent.sum(), np.float64)


def _futures(
    flows: Flows, model: Weekly, horizon: int, rng: np.random.Generator, n: int
) -> tuple[Floats, Floats, Floats]:
    """Return the 95% band of each state [H, S], and the upper end of the band of everybody [H]."""
    arrivals = expected_arrivals(flows, horizon)
    start = np.rint(flows.counts[-1]).astype(np.int64)
    out = np.empty((n, horizon, len(start)))
    happened = model.matrix > 0
    for future in out:
        drawn = rng.gamma(np.where(happened, model.pseudo, 1.0)) * happened
        drawn /= drawn.sum(axis=2, keepdims=True)
        now = start
        for t in range(horizon):
            chances = drawn[(flows.first + len(flows.counts) + t) % SEASON]
            push = np.exp(model.shock * rng.standard_normal())
            chances = np.where(model.tilt, chances * push, chances)
            chances = chances / chances.sum(axis=1, keepdims=True)
            now = rng.multinomial(now, chances).sum(axis=0) + rng.poisson(arrivals[t])
            future[t] = now
    low, high = np.quantile(out, [0.025, 0.975], axis=0)
    return low, high, np.quantile(out.sum(axis=2), 0.975, axis=0)


def _shock(
    moves: Floats, weekday: NDArray[np.int64], matrix: Floats, tilt: NDArray[np.bool_]
) -> float:
    people = moves.sum(axis=2)  # [D, S]
    expected = (people[:, :, None] * matrix[weekday])[:, tilt].sum(axis=1)
    seen = moves[:, tilt].sum(axis=1)
    some = (expected > 0) & (seen > 0)
    if some.sum() < SEASON:
        return 0.0
    off = np.log(seen[some] / expected[some])
    chance = float((1 / expected[some]).mean())
    return float(np.sqrt(max(off.var() - chance, 0.0)))
