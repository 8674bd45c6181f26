"""Who was where on each day and who moved, as counts: from stretches, not from user-days.

D days, S states.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.errors import InputError, Unfit
from lifeloop.lifecycle.activity import STATES, state_stretches
from lifeloop.lifecycle.definitions import StageDefinitions
from lifeloop.lifecycle.frame import Events, collect
from lifeloop.lifecycle.options import Options, View, opened
from lifeloop.lifecycle.stage_counts import stage_stretches
from lifeloop.lifecycle.stages import SHOWN, ended

Floats = NDArray[np.float64]

Of = Literal["states", "stages"]
NAMES: dict[str, tuple[str, ...]] = {"states": STATES, "stages": SHOWN}


@dataclass(frozen=True, eq=False)
class Flows:
    """Users per day and state [D, S], moves into each day [D, S, S], first appearances [D, S].

    ``moves[d]`` are from day d - 1 to d, users who stay included; ``moves[0]`` is empty.
    ``first`` is the day number of row 0.
    """

    names: tuple[str, ...]
    first: int
    counts: Floats
    moves: Floats
    arrivals: Floats

    def until(self, n: int) -> "Flows":
        """Return the first ``n`` days only."""
        return Flows(self.names, self.first, self.counts[:n], self.moves[:n], self.arrivals[:n])

    @property
    def weekday(self) -> NDArray[np.int64]:
        """Day of the week of each row, 0 to 6, [D]; 1970-01-01 is 0."""
        return (np.arange(len(self.counts)) + self.first) % 7


def stretches_of(
    events: Events, of: Of, definitions: StageDefinitions, options: Options
) -> tuple[View, pl.DataFrame]:
    """Return the view and every stretch: ``by``, user_id, label, begin, until (day numbers)."""
    if of not in get_args(Of):
        raise InputError("unknown kind of state", got=of, allowed=", ".join(get_args(Of)))
    told: Options = {**options, "burn_in_days": definitions.burn_in_days}
    told = {**told, "passive": definitions.passive, "grain": "day"}
    view = opened(events, ended(told))
    if view.log.lo_us is None:
        raise Unfit("nobody is there to forecast", hint="import events first")
    frame: Any = (
        collect(state_stretches(view)) if of == "states" else stage_stretches(view, definitions)
    )
    rows = pl.DataFrame(frame).filter(pl.col("begin") < pl.col("until"))
    return view, rows.sort("user_id", "begin")


def flows_of(stretches: pl.DataFrame, names: tuple[str, ...], *, last: int) -> Flows:
    """Return counts per day from the first stretch to day ``last`` inclusive.

    Parameters
    ----------
    stretches : DataFrame
        user_id, label, begin, until, sorted by user and begin; those of a user follow each other
        without a gap.
    names : tuple of str
        Labels, in the order of the states.
    last : int
        Day number of the last row.
    """
    size = len(names)
    rows = stretches.filter(pl.col("begin") <= last)
    if rows.is_empty():
        raise Unfit("nobody is there to forecast", hint="import events first")
    user = rows["user_id"].rle_id().to_numpy()
    label = rows["label"].replace_strict(
        list(names), list(range(size)), return_dtype=pl.Int64
    ).to_numpy()  # fmt: skip
    begin = rows["begin"].to_numpy()
    first = int(begin.min())
    days = last - first + 1
    fresh = np.append(True, user[1:] != user[:-1])
    arrivals = np.zeros((days, size))
    np.add.at(arrivals, (begin[fresh] - first, label[fresh]), 1)
    moves = np.zeros((days, size, size))
    came = np.flatnonzero(~fresh)
    np.add.at(moves, (begin[came] - first, label[came - 1], label[came]), 1)
    moves[:, np.arange(size), np.arange(size)] = 0  # a stretch after one of the same label: a stay
    change = arrivals + moves.sum(axis=1) - moves.sum(axis=2)
    counts = change.cumsum(axis=0)  # [D, S]
    stay = counts[:-1] - moves[1:].sum(axis=2)
    moves[1:, np.arange(size), np.arange(size)] = stay
    return Flows(names, first, counts, moves, arrivals)


def forecastable(flows: Flows, *, horizon: int) -> None:
    """Refuse a log of less than three weeks, or a horizon that is none or longer than the log."""
    days = len(flows.counts)
    if horizon < 1:
        raise InputError("a horizon is a number of days", got=horizon, allowed="1 or more")
    if days < 21 or horizon > days:
        raise Unfit(
            "the log is too short for this forecast",
            got=f"{days} days of log, {horizon} days ahead",
            allowed="21 days or more, and no more days ahead than the log has",
        )


def members_now(view: View, stretches: pl.DataFrame) -> pl.DataFrame:
    """Return where every user is on the last day: ``by``, user_id, state."""
    last = view.log.last_day
    now = stretches.filter(pl.col("begin") <= last, pl.col("until") > last)
    return now.select(*view.by, "user_id", state="label").sort(*view.by, "user_id")
