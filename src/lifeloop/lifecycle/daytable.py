"""Events to days: one row per user and local day on which anything happened.

The engine that holds the events does this aggregation; everything about stages is then
arithmetic on these few integer columns (``path``), for any batch of whole users.
"""

import narwhals as nw
import numpy as np
import polars as pl

from lifeloop.contracts import Bool, Int, Long
from lifeloop.lifecycle.definitions import StageDefinitions
from lifeloop.lifecycle.frame import Log, collect, distinct
from lifeloop.lifecycle.purchases import order_changes


class DayTable:
    """Arrays with one entry per user-day, sorted by (user, day). n rows, U users.

    ``user`` is the dense index of the user, ``starts`` where each user begins (and n, last).
    ``active`` the user did something; ``joined``, ``ended`` such an event fell on the day;
    ``keys`` key actions; ``d_orders`` the change in the number of net-positive orders.
    """

    __slots__ = ("active", "d_orders", "day", "ended", "joined", "keys", "starts", "user")

    def __init__(
        self,
        day: Long,  # [n]
        starts: Long,  # [U+1]
        *,
        active: Bool,  # [n]
        joined: Bool,  # [n]
        keys: Int,  # [n]
        d_orders: Int,  # [n]
        ended: Bool,  # [n]
    ) -> None:
        self.day = day
        self.starts = starts
        self.user = np.repeat(np.arange(len(starts) - 1), np.diff(starts))  # [n]
        self.active = active
        self.joined = joined
        self.keys = keys
        self.d_orders = d_orders
        self.ended = ended

    def __len__(self) -> int:
        return len(self.day)


def day_table(log: Log, definitions: StageDefinitions) -> tuple[pl.Series, DayTable]:
    """Return the user ids [U] (sorted) and their days."""
    d = definitions
    kind = nw.col("type")
    days = log.frame.group_by("user_id", "day").agg(
        active=(~kind.is_in(d.passive)).max(),
        joined=kind.is_in(d.joins).max(),
        ended=kind.is_in(d.ends).max(),
    )
    key_actions = distinct(log.frame.filter(kind.is_in(d.activates)), log.columns)
    keys = key_actions.group_by("user_id", "day").agg(keys=nw.len())
    table = collect(days)
    for counts in (keys, order_changes(log, d.orders, d.refunds)):
        table = table.join(collect(counts), on=["user_id", "day"], how="left")
    table = table.sort("user_id", "day")
    users = table["user_id"]
    is_start = (users != users.shift()).fill_null(value=True).to_numpy()
    starts = np.append(np.flatnonzero(is_start), len(table))
    return (
        users.gather(starts[:-1]),
        DayTable(
            table["day"].to_numpy().astype(np.int64),
            starts,
            active=table["active"].to_numpy(),
            joined=table["joined"].to_numpy(),
            keys=table["keys"].fill_null(0).to_numpy().astype(np.int32),
            d_orders=table["d_orders"].fill_null(0).to_numpy().astype(np.int32),
            ended=table["ended"].to_numpy(),
        ),
    )
