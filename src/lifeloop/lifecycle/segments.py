"""Splitting users: one value per user, from the users, their events or the first item they took."""

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, ParamSpec

import narwhals as nw
import polars as pl
from narwhals.typing import IntoFrame

from lifeloop.errors import InputError
from lifeloop.lifecycle.frame import Lazy, Log, of_types

RESERVED = frozenset(
    {
        *(
            "user_id",
            "t_us",
            "type",
            "day",
            "value",
            "period",
            "cohort",
            "partial",
            "event_id",
            "seq",
        ),
        *("order_id", "order_key", "rating", "referrer_id", "is_bot", "active", "ix", "at"),
    }
)
"""Names that every table needs for itself."""

NAMES_ONE = frozenset({"t_us", "event_id", "seq"})
"""Columns of events that tell single events apart: no segments of users."""

CURRENCY = "_currency"
"""Where the currency of an event is found when users are split by it."""

NONE = "(none)"
"""The segment of users of whom nothing is known."""


MARK = "by:"
"""Put before the name of an attribute while a table is computed."""

P = ParamSpec("P")


def splitting(function: Callable[P, pl.DataFrame]) -> Callable[P, pl.DataFrame]:
    """Return the function with its segments under names of their own while it computes.

    An attribute may so be called as any column that is read or made on the way; only the name of
    a column of the table itself is refused.
    """

    @wraps(function)
    def asked(*args: P.args, **options: P.kwargs) -> pl.DataFrame:
        by: Any = options.get("by") or ()
        names = (by,) if isinstance(by, str) else tuple(by)
        if not names or names[0].startswith(MARK):
            return function(*args, **options)
        options["by"] = tuple(MARK + name for name in names)
        table = function(*args, **options)
        if taken := sorted({*names} & {*table.columns}):
            raise InputError(
                f"{function.__name__} has a column {taken[0]!r} of its own: by cannot split by it",
                got=taken,
                hint="give the attribute another name, such as 'user_age' for 'age'",
            )
        return table.rename({MARK + name: name for name in names})

    return asked


def segmented(
    log: Log,
    by: tuple[str, ...],
    *,
    users: IntoFrame | None = None,
    items: IntoFrame | None = None,
    item_types: Collection[str] = ("purchase",),
) -> Log:
    """Return the log with one column per name of ``by``, constant for each user.

    A user's value is that among the users, else that on the user's events; where neither has such a
    column, that of the item. What is not known is ``NONE``.

    Parameters
    ----------
    log : Log
        The events.
    by : tuple of str
        Names of attributes.
    users, items : frame, optional
        One row per ``user_id``, per ``item_id``, with attributes.
    item_types : collection of str
        Event types whose earliest item places the user, for attributes of items.

    Raises
    ------
    InputError
        A name that none of them has.
    """
    if not by:
        return log
    of_users, of_items = _lazy(users), _lazy(items)
    user_columns, item_columns = _columns(of_users), _columns(of_items)
    known = log.columns | user_columns | item_columns
    missing = [name for name in _plain(by) if name not in known]
    if missing:
        raise InputError(
            f"by names {missing}, which is a column of neither the events nor the users or items",
            got=missing,
            allowed=", ".join(sorted(known - RESERVED)),
        )
    frame = log.frame
    alone = {"user_id"} | (NAMES_ONE - user_columns)
    if taken := sorted((RESERVED & set(by)) | (alone & set(_plain(by)))):
        raise InputError(f"by cannot split by {taken}", got=taken, hint="an attribute of users")
    for label, name in zip(by, _plain(by), strict=True):
        values = []
        if of_users is not None and name in user_columns:
            values.append(_once(of_users, "user_id", name))
        if name in log.columns:
            values.append(_first_value(log.frame, name))
            if label == "currency":  # of the line itself: what money is in
                frame = frame.with_columns(nw.col(name).alias(CURRENCY))
            if label in log.columns:
                frame = frame.drop(label)
        if not values and of_items is not None:
            values.append(_first_item(log.frame, _once(of_items, "item_id", name), item_types))
        for k, value in enumerate(values):
            renamed = value.select("user_id", nw.col("_by").alias(f"_by{k}"))
            frame = frame.join(renamed, on="user_id", how="left")
        told = [f"_by{k}" for k in range(len(values))]
        frame = frame.with_columns(nw.coalesce(*told, nw.lit(NONE)).alias(label)).drop(*told)
    return log.having(frame)


def _plain(by: tuple[str, ...]) -> list[str]:
    return [name.removeprefix(MARK) for name in by]


def _lazy(frame: IntoFrame | None) -> Lazy | None:
    return None if frame is None else nw.from_native(frame).lazy()


def _columns(frame: Lazy | None) -> frozenset[str]:
    return frozenset() if frame is None else frozenset(frame.collect_schema())


def _once(frame: Lazy, key: str, name: str) -> Lazy:
    value = frame.select(nw.col(key).alias(key), _by=nw.col(name).cast(nw.String))
    # Of several rows the smallest value: no order of rows is trusted.
    return value.filter(~nw.col("_by").is_null()).group_by(key).agg(_by=nw.col("_by").min())


def _first_item(frame: Lazy, values: Lazy, item_types: Collection[str]) -> Lazy:
    taken = frame.filter(of_types(item_types), ~nw.col("item_id").is_null())
    valued = taken.select("user_id", "t_us", "item_id").join(values, on="item_id", how="inner")
    return _first_value(valued, "_by")


def _first_value(frame: Lazy, name: str) -> Lazy:
    # Of several values at the first instant, the smallest: no order of rows is trusted.
    known = frame.filter(~nw.col(name).is_null()).select(
        "user_id", "t_us", nw.col(name).cast(nw.String).alias("_by")
    )
    earliest = known.group_by("user_id").agg(_first=nw.col("t_us").min())
    return (
        known.join(earliest, on="user_id", how="inner")
        .filter(nw.col("t_us") == nw.col("_first"))
        .group_by("user_id")
        .agg(_by=nw.col("_by").min())
    )
