"""What new, late, merged and erased events change: the rows of the users affected, only."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import narwhals as nw
import numpy as np
import polars as pl

from lifeloop.contracts import Bool
from lifeloop.lifecycle.daily.state import (
    DAYS,
    ORDER_SCHEMA,
    Daily,
    followed,
    indexed,
    order_sums,
)
from lifeloop.lifecycle.daytable import DAY_SCHEMA, RARE, day_frame
from lifeloop.lifecycle.frame import Log, collect, read
from lifeloop.lifecycle.purchases import ORDER, SUMS, order_lines, stands_expr

KEYS = ["ix", "order_id", "order_key"]


@dataclass(frozen=True, slots=True)
class Delta:
    """A change of a ``Daily``.

    ``new_users`` are appended. Of the users ``dropped`` every row goes; of those in ``people``
    the path and people rows go; ``days`` replace the rows of the same user and day; ``orders``
    those of the same order; then the rows here come in.
    """

    new_users: pl.DataFrame
    dropped: pl.Series
    days: pl.DataFrame
    orders: pl.DataFrame
    path: pl.DataFrame
    people: pl.DataFrame
    last_us: int | None


def change(
    daily: Daily,
    new: pl.DataFrame,
    *,
    redo: Collection[str] = (),
    histories: pl.DataFrame | None = None,
) -> Delta:
    """Return what events that came since change.

    Parameters
    ----------
    daily : Daily
        The state so far.
    new : polars.DataFrame
        The events that came since (as for ``build``), each once.
    redo : collection of str
        Users to compute from ``histories`` alone: those of a merge (also the visitor that is no
        more), an erasure, a replaced order line, or with events before their newest known day
        (see ``late``).
    histories : polars.DataFrame, optional
        Every event of the users in ``redo``; a user without one is gone.
    """
    d = daily.definitions
    again = pl.Series("user_id", sorted(redo), dtype=pl.String)
    appended = new.filter(~pl.col("user_id").is_in(again.implode()))
    log = read(appended, zone=daily.zone)
    fresh = day_frame(log, d).drop("d_orders")
    whole_log = read(appended.clear() if histories is None else histories, zone=daily.zone)
    whole = day_frame(whole_log, d)
    ids = pl.concat([fresh["user_id"], whole["user_id"]]).unique().sort()
    places, new_users = _places(daily, ids, again)
    n_users = len(daily.users) + len(new_users)
    dropped = _indexed(again.to_frame(), places)["ix"].drop_nulls()
    orders, moves = _orders(daily, log, places, n_users)
    days = _merged(daily, _indexed(fresh, places), moves)
    redone = _indexed(whole, places).select(DAYS)
    redone_orders = _indexed(order_sums(whole_log, d), places).select(list(ORDER_SCHEMA))
    paths, people = followed(pl.concat([_whole(daily, days, n_users), redone]), d)
    times = [t for t in (daily.last_us, log.hi_us, whole_log.hi_us) if t is not None]
    return Delta(
        new_users,
        dropped,
        pl.concat([days, redone]),
        pl.concat([orders, redone_orders]),
        paths,
        people,
        max(times, default=None),
    )


def _places(daily: Daily, ids: pl.Series, redo: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
    # Where the users of a change stand among all, found in one pass: user_id, ix; and the new.
    every = daily.users.with_row_index("ix").with_columns(pl.col("ix").cast(pl.Int32))
    asked = pl.concat([ids, redo]).unique().to_frame("user_id")
    known = every.join(asked, on="user_id", how="semi")
    new = ids.to_frame("user_id").join(known, on="user_id", how="anti").sort("user_id")
    first = len(daily.users)
    placed = new.with_columns(ix=pl.int_range(first, first + pl.len(), dtype=pl.Int32))
    return pl.concat([known.select("user_id", "ix"), placed]), new


def _indexed(frame: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    joined = frame.join(places, on="user_id", how="left", maintain_order="left")
    return joined.drop("user_id")


def late(daily: Daily, new: pl.DataFrame) -> set[str]:
    """Return the users with a new event before their newest known day: to be done again."""
    log = read(new, zone=daily.zone)
    first = collect(log.frame.group_by("user_id").agg(day=nw.col("day").min()))
    placed = indexed(first.with_columns(who=pl.col("user_id")), daily.users).drop_nulls("ix")
    both = placed.join(daily.people.select("ix", "last_day"), on="ix")
    return set(both.filter(pl.col("day") < pl.col("last_day"))["who"])


def applied(daily: Daily, delta: Delta) -> Daily:
    """Return the state with a change put in."""
    users = pl.concat([daily.users, delta.new_users])
    gone = _mask(delta.dropped, len(users))
    touched = _mask(delta.people["ix"], len(users)) | gone
    return replace(
        daily,
        users=users,
        days=pl.concat([_without(daily.days, delta.days, ["ix", "day"], gone), delta.days]),
        orders=pl.concat([_without(daily.orders, delta.orders, KEYS, gone), delta.orders]),
        path=pl.concat([_left(daily.path, touched), delta.path]),
        people=pl.concat([_left(daily.people, touched), delta.people]),
        last_us=delta.last_us,
    )


def _left(frame: pl.DataFrame, touched: Bool) -> pl.DataFrame:
    return frame.filter(pl.Series(~touched[frame["ix"].to_numpy()]))


def _without(
    frame: pl.DataFrame, changed: pl.DataFrame, keys: list[str], gone: Bool
) -> pl.DataFrame:
    # Only rows of the users that the change names can be replaced: look no further.
    ix = frame["ix"].to_numpy()
    named = np.flatnonzero(_mask(changed["ix"], len(gone))[ix])
    rows = frame[named].select(keys).with_columns(at=pl.Series(named, dtype=pl.Int64))
    stale = rows.join(changed.select(keys), on=keys, how="semi", nulls_equal=True)["at"]
    keep = ~gone[ix] if gone.any() else np.ones(len(ix), dtype=bool)
    keep[stale.to_numpy()] = False
    return frame if keep.all() else frame.filter(pl.Series(keep))


def _mask(ix: pl.Series, n: int) -> Bool:
    mask = np.zeros(n, dtype=bool)
    mask[ix.to_numpy()] = True
    return mask


def _whole(daily: Daily, days: pl.DataFrame, n_users: int) -> pl.DataFrame:
    # All days of the users with new days: the old ones that stay, and the new.
    old = _of(daily.days, days["ix"], n_users)
    kept = old.join(days.select("ix", "day"), on=["ix", "day"], how="anti")
    return pl.concat([kept, days])


def _of(frame: pl.DataFrame, ix: pl.Series, n_users: int) -> pl.DataFrame:
    # The rows of these users.
    return frame[np.flatnonzero(_mask(ix, n_users)[frame["ix"].to_numpy()])]


def _merged(daily: Daily, fresh: pl.DataFrame, moves: pl.DataFrame) -> pl.DataFrame:
    # A day that is known already (the newest of its user) adds up with what came since.
    rows = fresh.join(moves, on=["ix", "day"], how="full", coalesce=True)
    rows = rows.with_columns(pl.col("active").fill_null(value=False))
    rows = rows.with_columns(pl.col("joined", "ended").fill_null(value=False))
    rows = rows.with_columns(pl.col("keys", "d_orders").fill_null(0)).select(DAYS)
    newest = daily.people.select("ix", day=pl.col("last_day").cast(DAY_SCHEMA["day"]))
    again = rows.join(newest, on=["ix", "day"], how="semi").select("ix", "day")
    known = _of(daily.days, again["ix"], len(daily.users))
    known = known.join(again, on=["ix", "day"], how="semi")
    both = pl.concat([rows, known.select(DAYS)])
    return both.group_by("ix", "day").agg(
        pl.col("active", *(n for n in RARE if n != "keys")).any(),
        pl.col("keys", "d_orders").sum().cast(pl.Int32),
    ).select(DAYS)  # fmt: skip


def _orders(
    daily: Daily, log: Log, places: pl.DataFrame, n_users: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    # The sums of the orders touched, and by how much each user's net-positive orders change.
    d = daily.definitions
    lines = order_lines(log, d.orders, d.refunds)
    by_day = collect(
        lines.group_by(*ORDER, "day").agg(*[nw.col(name).sum() for name in SUMS])
    ).with_columns(pl.col("order_id").cast(pl.String))
    rows = _indexed(by_day, places).sort(*KEYS, "day")
    known = _of(daily.orders, rows["ix"], n_users)
    before = rows.select(KEYS).unique().join(known, on=KEYS, how="left", nulls_equal=True)
    before = before.with_columns(pl.col(SUMS).fill_null(0))
    rows = rows.join(
        before.rename({name: f"was_{name}" for name in SUMS}), on=KEYS, how="left", nulls_equal=True
    )
    rows = rows.with_columns(
        (pl.col(name).cum_sum().over(KEYS) + pl.col(f"was_{name}")).alias(name) for name in SUMS
    )
    stood = nw.from_native(rows.select("ix", *KEYS[1:], "day", *SUMS)).with_columns(
        stands=stands_expr().cast(nw.Int32)
    ).to_native()  # fmt: skip
    first = nw.from_native(before).with_columns(first=stands_expr().cast(nw.Int32)).to_native()
    stood = stood.join(first.select(*KEYS, "first"), on=KEYS, how="left", nulls_equal=True)
    previous = pl.col("stands").shift(1).over(KEYS).fill_null(pl.col("first"))
    moves = stood.with_columns(step=pl.col("stands") - previous).group_by("ix", "day").agg(
        d_orders=pl.col("step").sum().cast(pl.Int32)
    ).with_columns(pl.col("day").cast(DAY_SCHEMA["day"]))  # fmt: skip
    newest = rows.group_by(KEYS).agg(pl.col(SUMS).last())
    return newest.select(list(ORDER_SCHEMA)), moves.select("ix", "day", "d_orders")
