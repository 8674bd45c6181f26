"""From visitor to member to user to buyer: the three conversion rates of the first weeks."""

from collections.abc import Sequence
from typing import Unpack

import narwhals as nw
import polars as pl

from lifeloop.errors import InputError
from lifeloop.lifecycle.calendar import day_expr
from lifeloop.lifecycle.frame import Events, Lazy, collect
from lifeloop.lifecycle.options import Options, View, opened
from lifeloop.lifecycle.purchases import first_order_days
from lifeloop.lifecycle.segments import splitting
from lifeloop.lifecycle.within import day_of_kth, first_days, new_users, within_table

NOBODY = "nobody whose window is over"


@splitting
def signup_conversion(
    events: Events,
    *,
    joins: Sequence[str] = ("sign_up",),
    within_days: int = 14,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return the share of new visitors who sign up within W days, of those whose W is over.

    A visitor belongs to the period of the first active day ever. A visitor who already had an
    account is out: seen in the burn-in, or with ``users.created_us`` on an earlier day.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``.
    joins : sequence of str
        Event types that are signing up.
    within_days : int
        W; signing up on first day + W still counts.
    members : bool
        Return period, status (converted, not_converted, waiting), user_id.
    **options
        See ``Options``.

    Returns
    -------
    polars.DataFrame
        (``by``,) period, users, n, converted, rate, rate_low, rate_high, reason, partial.

    References
    ----------
    spec/lifecycle.md, section 2.
    """
    view = opened(events, options, needs=("t_us",))
    joined = day_of_kth(view, _types(joins, "joins"), 1)
    people = _without_account(view, new_users(view)).join(joined, on="user_id", how="left")
    return within_table(view, people, within_days=within_days, members=members, reason=NOBODY)


@splitting
def activation(
    events: Events,
    *,
    joins: Sequence[str] = ("sign_up",),
    activates: Sequence[str],
    times: int = 1,
    within_days: int = 14,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return the share of sign-ups doing the key action k times within W days (first use).

    A sign-up belongs to the period of the user's first sign-up. Key actions before it count too:
    the anonymous visitor, once merged, is the same person.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``.
    joins, activates : sequence of str
        Event types that are signing up, and the key actions.
    times : int
        k ≥ 1.
    within_days : int
        W; the k-th action on the day of signing up + W still counts.
    members, **options
        As in ``signup_conversion``.

    Returns
    -------
    polars.DataFrame
        As ``signup_conversion``.
    """
    if times < 1:
        raise InputError("times counts key actions", got=times, allowed="1 or more")
    view = opened(events, options, needs=("t_us",))
    frame = view.log.of(_types(joins, "joins"))
    joined = first_days(frame, "user_id", *view.by).filter(nw.col("day") >= view.first_new_day)
    done = day_of_kth(view, _types(activates, "activates"), times)
    people = joined.join(done, on="user_id", how="left")
    return within_table(view, people, within_days=within_days, members=members, reason=NOBODY)


@splitting
def conversion(
    events: Events,
    *,
    orders: Sequence[str] = ("purchase",),
    refunds: Sequence[str] = ("refund",),
    within_days: int = 30,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return the share of new users with a net-positive order within W days of being first seen.

    An order that was refunded in full by ``as_of`` converts nobody. A guest order counts: signing
    up is not required.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``, optionally ``order_id``, ``value``.
    orders, refunds : sequence of str
        Event types that are order lines, and that take money back from the order they name.
    within_days : int
        W; an order on first day + W still counts.
    members, **options
        As in ``signup_conversion``.

    Returns
    -------
    polars.DataFrame
        As ``signup_conversion``.
    """
    view = opened(events, options, needs=("t_us",))
    ordered = first_order_days(view, _types(orders, "orders"), tuple(refunds))
    people = new_users(view).join(ordered, on="user_id", how="left")
    return within_table(view, people, within_days=within_days, members=members, reason=NOBODY)


def _types(types: Sequence[str], name: str) -> tuple[str, ...]:
    if isinstance(types, str) or not types:
        raise InputError(f"{name} must name event types", got=types, allowed="a list of types")
    return tuple(types)


def _without_account(view: View, visitors: Lazy) -> Lazy:
    users = view.settings.users
    if users is None:
        return visitors
    accounts = nw.from_native(users).lazy()
    if "created_us" not in accounts.collect_schema():
        return visitors
    created = accounts.filter(~nw.col("created_us").is_null()).select("user_id", "created_us")
    lo_us, hi_us = collect(
        created.select(lo=nw.col("created_us").min(), hi=nw.col("created_us").max())
    ).row(0)
    if lo_us is None:
        return visitors
    day = day_expr("created_us", zone=view.log.zone, lo_us=lo_us, hi_us=hi_us)
    created = created.group_by("user_id").agg(nw.col("created_us").min()).with_columns(_had=day)
    known = visitors.join(created, on="user_id", how="left")
    had_account = (~nw.col("_had").is_null()) & (nw.col("_had") < nw.col("day"))
    return known.filter(~had_account).select("user_id", *view.by, "day")
