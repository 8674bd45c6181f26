"""The daily state: frames of integers, keyed by a user's place in ``users``."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
from narwhals.typing import IntoFrame

from lifeloop.contracts import Long
from lifeloop.errors import InputError
from lifeloop.lifecycle.calendar import end_of_day_us, micros, start_of_day_us
from lifeloop.lifecycle.daytable import DAY_SCHEMA, numbered_days, placed, table_of
from lifeloop.lifecycle.definitions import StageDefinitions
from lifeloop.lifecycle.frame import Log, collect, read
from lifeloop.lifecycle.path import Facts, Path, walked
from lifeloop.lifecycle.purchases import ORDER, SUMS, order_lines
from lifeloop.lifecycle.standing import Standing, cut

FACTS = tuple(f.name for f in fields(Facts))
FOREVER = 1 << 30
"""Paths run on into the future: silence alone changes a stage on days that are already known."""

IX: dict[str, Any] = {"ix": pl.Int32}
DAYS = ("ix", *DAY_SCHEMA)
ORDER_SCHEMA: dict[str, Any] = {
    **IX, "order_id": pl.String, "order_key": pl.Int64, **dict.fromkeys(SUMS, pl.Int64),
}  # fmt: skip
FACT_SCHEMA: dict[str, Any] = {
    name: pl.Float64
    if name == "p_alive"
    else pl.Boolean
    if name in ("joined", "value_high", "p_low")
    else pl.Int64
    for name in FACTS
}
PATH_SCHEMA: dict[str, Any] = {
    **IX, "begin": pl.Int64, "product": pl.Int32, "overlay": pl.Int32, **FACT_SCHEMA,
}  # fmt: skip
PEOPLE_SCHEMA: dict[str, Any] = {**IX, "first_day": pl.Int64, "last_day": pl.Int64, **FACT_SCHEMA}


@dataclass(frozen=True, slots=True)
class Daily:
    """What every user did on every day, under one set of definitions, in one zone.

    ``users``: user_id, the row number is ``ix``. ``days``: one row per user and day
    (``DAY_SCHEMA``). ``orders``: the sums of every order so far. ``path``: stretches of one stage
    with the facts at their begin. ``people``: the facts after each user's newest day. Rows are in
    no order. A user with no day any more stays in ``users`` and nowhere else.
    """

    definitions: StageDefinitions
    zone: str
    users: pl.DataFrame
    days: pl.DataFrame
    orders: pl.DataFrame
    path: pl.DataFrame
    people: pl.DataFrame
    last_us: int | None

    def as_log(self, *, zone: str, as_of: datetime | int | None, filtered: bool) -> Log:
        """Return the days as a log that lifecycle functions read; see ``frame.read``."""
        if zone != self.zone or filtered:
            raise InputError(
                "the daily state holds days, not events",
                got={"zone": zone, "filtered": filtered},
                allowed=f"zone={self.zone!r}, no where, no include_bots",
                hint="ask from the events",
            )
        as_of_us = micros(as_of) if isinstance(as_of, datetime) else as_of
        if as_of_us is not None and self.last_us is not None and as_of_us <= self.last_us:
            raise InputError(
                "the daily state knows later events than as_of",
                got=as_of_us,
                allowed=f"after {self.last_us}",
                hint="ask from the events",
            )
        lo = self.days["day"].min()
        last = self.days["day"].max()
        if as_of_us is None:
            as_of_us = 1 if last is None else end_of_day_us(_int(last), zone)
        named = self.users.with_row_index("ix").with_columns(pl.col("ix").cast(pl.Int32))
        frame = self.days.lazy().join(named.lazy(), on="ix")
        frame = frame.select("user_id", pl.col("day").cast(pl.Int64), "active")
        return Log(
            nw.from_native(frame),
            frozenset({"user_id"}),
            zone,
            as_of_us,
            None if lo is None else start_of_day_us(_int(lo), zone),
            self.last_us,
            self,
        )

    def standing(self, last_day: int) -> Standing:
        """Return where everybody stood up to a day, users sorted by id."""
        present = self.people.sort(self.rank()[self.people["ix"].to_numpy()])
        at = np.full(len(self.users), -1)
        at[present["ix"].to_numpy()] = np.arange(len(present))
        order = pl.Series(at[self.path["ix"].to_numpy()])
        rows = self.path.with_columns(user=order).sort("user", "begin")
        n = len(rows)
        facts = Facts(
            **{
                name: np.concatenate([rows[name].to_numpy(), present[name].to_numpy()])
                for name in FACTS
            }
        )
        whole = Path(
            np.arange(n),
            rows["user"].to_numpy(),
            rows["begin"].to_numpy(),
            rows["product"].to_numpy(),
            rows["overlay"].to_numpy(),
        )
        ids = self.users["user_id"].gather(present["ix"])
        last = n + np.arange(len(present))
        return Standing(ids, facts, cut(whole, last_day), last, present["first_day"].to_numpy())

    def rank(self) -> pl.Series:
        """Return the place of every user in the order of ids. [U]."""
        return self.users["user_id"].rank("ordinal")


def build(events: IntoFrame, *, definitions: StageDefinitions, zone: str = "UTC") -> Daily:
    """Return the daily state of a whole log.

    Parameters
    ----------
    events : frame
        As for ``stages``; bots and events without a time are left out.
    definitions : StageDefinitions
        What the stages mean.
    zone : str
        IANA zone of days.
    """
    log = read(events, zone=zone)
    ids, with_ix = numbered_days(log, definitions)
    users = ids.to_frame("user_id")
    orders = indexed(order_sums(log, definitions), users).select(list(ORDER_SCHEMA))
    paths, people = followed(with_ix, definitions)
    return Daily(
        definitions, zone, users, with_ix.select(DAYS), orders, paths, people,
        log.hi_us,
    )  # fmt: skip


def order_sums(log: Log, d: StageDefinitions) -> pl.DataFrame:
    """Return the sums of every order of a log: user_id, order_id, order_key, ``SUMS``."""
    lines = order_lines(log, d.orders, d.refunds)
    sums = lines.group_by(*ORDER).agg(*[nw.col(name).sum() for name in SUMS])
    return collect(sums).with_columns(pl.col("order_id").cast(pl.String))


def indexed(frame: pl.DataFrame, users: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with ``ix`` in place of ``user_id``; users without a place have null."""
    return placed(frame, users["user_id"])


def followed(days: pl.DataFrame, d: StageDefinitions) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the path and the people of whole users' days: ``PATH_SCHEMA``, ``PEOPLE_SCHEMA``."""
    if days.is_empty():
        return pl.DataFrame(schema=PATH_SCHEMA), pl.DataFrame(schema=PEOPLE_SCHEMA)
    rows = days.sort("ix", "day")
    ix = rows["ix"].to_numpy()
    starts = np.append(np.flatnonzero(np.append(True, ix[1:] != ix[:-1])[: len(ix)]), len(ix))
    table = table_of(rows, starts)
    f, p, newest = walked(table, d, last_day=FOREVER)
    who = ix[starts[:-1]]  # [U]
    last = starts[1:] - 1

    def told(at: Long) -> dict[str, Any]:
        return {name: getattr(f, name)[at] for name in FACTS}

    paths = pl.DataFrame(
        {
            "ix": who[p.user],
            "begin": p.begin,
            "product": p.product,
            "overlay": p.overlay,
            **told(p.row),
        },
        schema=PATH_SCHEMA,
    )
    people = pl.DataFrame(
        {
            "ix": who,
            "first_day": table.day[starts[:-1]],
            "last_day": table.day[last],
            **told(newest),
        },
        schema=PEOPLE_SCHEMA,
    )
    return paths, people


def _int(value: object) -> int:
    return int(str(value))
