"""Where everybody stood when: the path of each user with the facts that decide it."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from narwhals.typing import IntoFrame

from lifeloop.contracts import Long
from lifeloop.errors import InputError
from lifeloop.lifecycle.daytable import day_table
from lifeloop.lifecycle.definitions import StageDefinitions
from lifeloop.lifecycle.frame import Log
from lifeloop.lifecycle.path import Facts, Path, walked
from lifeloop.lifecycle.shared import once


@dataclass(frozen=True, slots=True)
class Standing:
    """Users [U] sorted by id, facts [r], the path [m] whose ``row`` points into the facts.

    ``last`` [U] is the row of the facts after each user's newest day, ``first_day`` [U] the oldest.
    """

    user_ids: pl.Series
    facts: Facts
    path: Path
    last: Long
    first_day: Long


def standing(
    log: Log, definitions: StageDefinitions, predictions: IntoFrame | None = None
) -> Standing:
    """Return the path of everybody in a log, up to its last day.

    Raises
    ------
    InputError
        The log is a daily state of other definitions, or predictions are given beside one.
    """
    if log.prepared is not None:
        if log.prepared.definitions != definitions or predictions is not None:
            raise InputError(
                "the daily state was computed under other definitions",
                hint="ask with its own definitions and without predictions, or from the events",
            )
        found: Standing = log.prepared.standing(log.last_day)
        return found
    if log.origin is None:
        return _walked(log, definitions, predictions)
    return once(
        ("standing", log.origin.key, definitions),
        (log.origin.events, predictions),
        lambda: _walked(log, definitions, predictions),
    )


def _walked(log: Log, definitions: StageDefinitions, predictions: IntoFrame | None) -> Standing:
    user_ids, table = day_table(log, definitions, predictions)
    f, p, last = walked(table, definitions, last_day=log.last_day)
    return Standing(user_ids, f, p, last, table.day[table.starts[:-1]])


def cut(p: Path, last_day: int) -> Path:
    """Return the path up to a day inclusive."""
    keep = np.flatnonzero(p.begin <= last_day)
    return Path(p.row[keep], p.user[keep], p.begin[keep], p.product[keep], p.overlay[keep])
