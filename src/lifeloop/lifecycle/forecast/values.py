"""What a user of each stage is worth under today's policy, period by period, with intervals.

U users, S states, G groups of users, B bootstrap draws.
"""

from dataclasses import dataclass
from typing import Unpack

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.errors import Unfit
from lifeloop.lifecycle.clv import Terms
from lifeloop.lifecycle.clv.predict import YEAR
from lifeloop.lifecycle.definitions import StageDefinitions
from lifeloop.lifecycle.forecast.flows import NAMES, Of, members_now, stretches_of
from lifeloop.lifecycle.frame import Events
from lifeloop.lifecycle.ltv import purchase_days
from lifeloop.lifecycle.options import SMALL_CELL, Options, View

Floats = NDArray[np.float64]

SEED = 20_250_103
GROUPS, DRAWS = 200, 400

LEAST_PERIODS = 4
"""Fewer periods of log than this say nothing about a year."""


@dataclass(frozen=True, eq=False)
class Sums:
    """By group of users: moves from period to period [G, S, S], money earned in a period [G, S],
    and users counted at the start of one [G, S]."""

    moves: Floats
    money: Floats
    people: Floats


def stage_value(
    events: Events,
    *,
    definitions: StageDefinitions,
    of: Of = "stages",
    terms: Terms | None = None,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return V = Σ_t γ^t M^t r: the margin that a user of each stage brings from now on.

    M are the moves from one period to the next, r the mean margin within a period of who starts
    it in a stage, both of the whole log; γ discounts one period. It is the value of users as they
    move by themselves under today's policy. It is not the effect of moving someone: loyal users
    are other people, and only an experiment shows an effect.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``, ``value``, optionally ``order_id``.
    definitions : StageDefinitions
        The rules of the stages.
    of : "stages" | "states"
        What is shown of the product stages, or the seven activity states.
    terms : Terms, optional
        Horizon, period, yearly discount and margin.
    members : bool
        Return where every user is now: user_id, state.
    **options
        See ``Options``; ``start`` and ``grain`` have no effect. With ``by`` each segment has its
        own moves and money; its rows are pulled to those of all users by one user's weight.

    Returns
    -------
    polars.DataFrame
        (``by``,) state, n (users now), reward (margin per period), value, value_low, value_high
        (95%, users drawn with replacement)(, small).

    Raises
    ------
    Unfit
        No money, or fewer than four periods of log.

    References
    ----------
    puterman1994, equation 4.3.3.
    """
    view, stretches = stretches_of(events, of, definitions, options)
    now = members_now(view, stretches)
    if members:
        return now
    parts = []
    for key, drawn in _segments(events, view, stretches, of, definitions, terms, options):
        mine = now.filter(
            *[pl.col(name) == value for name, value in zip(view.by, key, strict=True)]
        )
        counts = dict(mine.group_by("state").len().iter_rows())
        value, low, high, reward, seen = drawn.summary()
        rows = pl.DataFrame(
            {
                "state": list(NAMES[of]),
                "n": [int(counts.get(name, 0)) for name in NAMES[of]],
                "reward": reward,
                "value": value,
                "value_low": low,
                "value_high": high,
            }
        ).filter(pl.Series(seen))
        parts.append(_named(rows, view, key))
    table = pl.concat(parts)
    return table.with_columns(small=pl.col("n") < SMALL_CELL) if view.by else table


def move_value(
    events: Events,
    *,
    definitions: StageDefinitions,
    of: Of = "stages",
    terms: Terms | None = None,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return by how much the value of a user differs after each move that happens; best first.

    Returns
    -------
    polars.DataFrame
        (``by``,) from, to, moved (how often from one period to the next), n (users now in
        ``from``), gain = V(to) - V(from), gain_low, gain_high. With ``members`` as for
        ``stage_value``.
    """
    view, stretches = stretches_of(events, of, definitions, options)
    now = members_now(view, stretches)
    if members:
        return now
    names = NAMES[of]
    parts = []
    for key, drawn in _segments(events, view, stretches, of, definitions, terms, options):
        mine = now.filter(
            *[pl.col(name) == value for name, value in zip(view.by, key, strict=True)]
        )
        counts = dict(mine.group_by("state").len().iter_rows())
        rows = []
        for a, before in enumerate(names):
            for b, after in enumerate(names):
                if a == b or drawn.moves[a, b] == 0:
                    continue
                gains = drawn.values[:, b] - drawn.values[:, a]
                low, high = np.quantile(gains, [0.025, 0.975])
                rows.append(
                    {
                        "from": before,
                        "to": after,
                        "moved": int(drawn.moves[a, b]),
                        "n": int(counts.get(before, 0)),
                        "gain": float(drawn.value[b] - drawn.value[a]),
                        "gain_low": float(low),
                        "gain_high": float(high),
                    }
                )
        if not rows:
            raise Unfit("nobody moved from one period to the next")
        table = pl.DataFrame(rows).sort("gain", "from", "to", descending=[True, False, False])
        parts.append(_named(table, view, key))
    return pl.concat(parts)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Value per state [S], bootstrap draws of it [B, S], rewards [S], moves [S, S], people [S]."""

    value: Floats
    values: Floats
    reward: Floats
    moves: Floats
    people: Floats

    def summary(self) -> tuple[Floats, Floats, Floats, Floats, NDArray[np.bool_]]:
        """Return value, its interval, reward, and which states anybody was ever in."""
        low, high = np.quantile(self.values, [0.025, 0.975], axis=0)
        return self.value, low, high, self.reward, self.people > 0


def summed_value(moves: Floats, reward: Floats, *, gamma: float, periods: int) -> Floats:
    """Return Σ_{t < periods} γ^t M^t r for each state; M are the moves, normalised by row, [S].

    A state nobody left stays where it is.
    """
    rows = moves.sum(axis=1, keepdims=True)
    chances = np.where(rows > 0, moves / np.where(rows > 0, rows, 1.0), np.eye(len(moves)))
    total, term = np.zeros(len(reward)), reward.copy()
    for _ in range(periods):
        total += term
        term = gamma * (chances @ term)
    return total


def _segments(  # type: ignore[no-untyped-def]
    events: Events,
    view: View,
    stretches: pl.DataFrame,
    of: Of,
    definitions: StageDefinitions,
    terms: Terms | None,
    options: Options,
):
    terms = terms or Terms()
    bought, days = purchase_days(events, definitions.orders, definitions.refunds, options)
    if days.is_empty():
        raise Unfit("no purchase has a value above 0", hint="import the value of the order lines")
    del bought
    rows = _periods(view, stretches, days, terms, NAMES[of])
    pooled = _sums(rows, len(NAMES[of]))
    groups = rows.group_by(view.by, maintain_order=True) if view.by else [((), rows)]
    whole = pooled.moves.sum(axis=0)
    prior = whole / np.maximum(whole.sum(axis=1, keepdims=True), 1.0) if view.by else 0 * whole
    earned = pooled.money.sum(axis=0) / np.maximum(pooled.people.sum(axis=0), 1.0)
    for key, part in sorted(groups, key=lambda pair: tuple(map(str, pair[0]))):
        sums = _sums(part, len(NAMES[of]))
        yield key, _drawn(sums, prior, earned if view.by else 0 * earned, terms)


def _periods(
    view: View, stretches: pl.DataFrame, days: pl.DataFrame, terms: Terms, names: tuple[str, ...]
) -> pl.DataFrame:
    # every user at the start of every whole period, counted back from the last day
    last, step = view.log.last_day, terms.period_days
    first = int(str(stretches["begin"].min()))
    starts = list(range(last - step, first - 1, -step))[::-1]
    if len(starts) < LEAST_PERIODS:
        raise Unfit(
            "the log is too short for a value",
            got=f"{len(starts)} periods of {step} days",
            allowed=f"{LEAST_PERIODS} or more",
        )
    at = pl.Series([*starts, last])
    spans = stretches.with_columns(
        lo=pl.Series(at.search_sorted(stretches["begin"], side="left")).cast(pl.Int64),
        hi=pl.Series(at.search_sorted(stretches["until"], side="left")).cast(pl.Int64),
    ).filter(pl.col("lo") < pl.col("hi"))
    each = spans.with_columns(k=pl.int_ranges("lo", "hi")).explode("k")
    each = each.select(
        *view.by,
        "user_id",
        "k",
        state=pl.col("label").replace_strict(
            list(names), list(range(len(names))), return_dtype=pl.Int64
        ),
    ).sort("user_id", "k")
    each = each.with_columns(to=pl.col("state").shift(-1).over("user_id", order_by="k"))
    money = days.with_columns(
        k=(pl.col("day") - starts[0] - 1).floordiv(step).cast(pl.Int64)
    ).filter(pl.col("day") > starts[0], pl.col("day") <= last)
    money = money.group_by("user_id", "k").agg(money=pl.col("value").sum() * terms.margin)
    each = each.filter(pl.col("k") < len(starts))
    return each.join(money, on=["user_id", "k"], how="left", maintain_order="left").with_columns(
        pl.col("money").fill_null(0.0)
    )


def _sums(rows: pl.DataFrame, size: int) -> Sums:
    user = rows["user_id"].rank("dense").cast(pl.Int64).to_numpy() - 1
    n_users = int(user.max()) + 1
    groups = min(GROUPS, n_users)
    place = np.random.default_rng([SEED, 1]).permutation(n_users) % groups
    group = place[user]
    state, to = rows["state"].to_numpy(), rows["to"].to_numpy()
    key = (group * size + state) * size + to
    moves = np.bincount(key.astype(np.int64), minlength=groups * size * size)
    cell = (group * size + state).astype(np.int64)
    money = np.bincount(cell, weights=rows["money"].to_numpy(), minlength=groups * size)
    people = np.bincount(cell, minlength=groups * size)
    return Sums(
        moves.reshape(groups, size, size).astype(np.float64),
        np.asarray(money.reshape(groups, size), np.float64),
        people.reshape(groups, size).astype(np.float64),
    )


def _drawn(sums: Sums, prior: Floats, earned: Floats, terms: Terms) -> Drawn:
    gamma = (1 + terms.discount) ** (-terms.period_days / YEAR)
    periods = max(round(terms.horizon_days / terms.period_days), 1)
    pull = float(bool(prior.any()))

    def valued(weight: Floats) -> tuple[Floats, Floats]:
        moves = np.tensordot(weight, sums.moves, axes=1) + prior
        people = weight @ sums.people + pull
        money = weight @ sums.money + pull * earned
        reward = np.divide(money, people, out=np.zeros_like(money), where=people > 0)
        return summed_value(moves, reward, gamma=gamma, periods=periods), reward

    groups = len(sums.moves)
    value, reward = valued(np.ones(groups))
    rng = np.random.default_rng([SEED, 2])
    weights = rng.multinomial(groups, np.full(groups, 1 / groups), size=DRAWS).astype(np.float64)
    values = np.stack([valued(weight)[0] for weight in weights])
    return Drawn(value, values, reward, sums.moves.sum(axis=0), sums.people.sum(axis=0))


def _named(rows: pl.DataFrame, view: View, key: tuple[object, ...]) -> pl.DataFrame:
    named = [
        pl.lit(value, dtype=pl.String).alias(name) for name, value in zip(view.by, key, strict=True)
    ]
    return rows.select(*named, pl.all())
