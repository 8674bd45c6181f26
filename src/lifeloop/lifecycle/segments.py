"""Splitting users: one value per user, from the users, their events or the first item they took."""

from collections.abc import Collection

import narwhals as nw
from narwhals.typing import IntoFrame

from lifeloop.errors import InputError
from lifeloop.lifecycle.frame import Lazy, Log, of_types

RESERVED = frozenset({"user_id", "t_us", "type", "day", "value", "period", "cohort", "partial"})
"""Names that every table needs for itself."""

NONE = "(none)"
"""The segment of users of whom nothing is known."""


def segmented(
    log: Log,
    by: tuple[str, ...],
    *,
    users: IntoFrame | None = None,
    items: IntoFrame | None = None,
    item_types: Collection[str] = ("purchase",),
) -> Log:
    """Return the log with one column per name of ``by``, constant for each user.

    A name is looked for among the users, then the events, then the items. What is not known is
    ``NONE``.

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
    missing = [name for name in by if name not in known]
    if missing:
        raise InputError(
            f"by names {missing}, which is a column of neither the events nor the users or items",
            got=missing,
            allowed=", ".join(sorted(known - RESERVED)),
        )
    frame = log.frame
    if taken := sorted(RESERVED & set(by)):
        raise InputError(f"by cannot split by {taken}", got=taken, hint="an attribute of users")
    for name in by:
        if of_users is not None and name in user_columns:
            value = _once(of_users, "user_id", name)
        elif name in log.columns or of_items is None:
            value = _first_value(log.frame, name)
        else:
            value = _first_item(log.frame, _once(of_items, "item_id", name), item_types)
        if name in log.columns:
            frame = frame.drop(name)
        frame = frame.join(value, on="user_id", how="left").with_columns(
            nw.col("_by").fill_null(NONE).alias(name)
        )
        frame = frame.drop("_by")
    return log.having(frame)


def _lazy(frame: IntoFrame | None) -> Lazy | None:
    return None if frame is None else nw.from_native(frame).lazy()


def _columns(frame: Lazy | None) -> frozenset[str]:
    return frozenset() if frame is None else frozenset(frame.collect_schema())


def _once(frame: Lazy, key: str, name: str) -> Lazy:
    value = frame.select(key, nw.col(name).cast(nw.String).alias("_by"))
    return value.filter(~nw.col("_by").is_null()).unique(key, keep="any")


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
