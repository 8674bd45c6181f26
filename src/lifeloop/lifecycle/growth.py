"""Growth accounting: where the active users of each period come from, and who left."""

from typing import Any, Unpack

import narwhals as nw
import polars as pl

from lifeloop.lifecycle.frame import Events, Lazy, collect
from lifeloop.lifecycle.options import Options, View, opened
from lifeloop.lifecycle.tables import counted, members_of

FLOWS = ("new", "returning", "resurrecting", "dormant")


def growth_accounting(
    events: Events, *, members: bool = False, **options: Unpack[Options]
) -> pl.DataFrame:
    """Return new, returning, resurrecting and dormant users per period.

    new: the first active period ever; returning: active in t and t−1; resurrecting: active in t,
    not in t−1, not new; dormant: active in t−1, not in t, as a negative count. So
    active(t) = new + returning + resurrecting and
    active(t) − active(t−1) = new + resurrecting + dormant.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``.
    members : bool
        Return the users behind every cell instead: period, state, user_id.
    **options
        See ``Options``. With ``burn_in_days`` a user first seen in the burn-in is existing: the
        first period counts as resurrecting (active, not active before as far as known, not new).

    Returns
    -------
    polars.DataFrame
        (``by``,) period, new, returning, resurrecting, dormant, partial(, small).

    References
    ----------
    spec/lifecycle.md, sections 2 and 3 (PostHog's lifecycle tests).
    """
    view = opened(events, options)
    flows = _flows(view)
    if members:
        return members_of(view, collect(flows), label="state")
    cells = collect(flows.group_by(*view.by, "period", "state").agg(users=nw.len()))
    table = counted(view, cells, label="state", names=FLOWS)
    return table.with_columns(-pl.col("dormant"))


def _flows(view: View) -> Lazy:
    periods = view.user_periods()
    previous: dict[str, Any] = {"order_by": "period"}
    known = periods.with_columns(
        before=nw.col("period").shift(1).over("user_id", **previous),
        after=nw.col("period").shift(-1).over("user_id", **previous),
    )
    is_new = nw.col("before").is_null() & (nw.col("day") >= view.first_new_day)
    came = known.with_columns(
        state=nw.when(is_new)
        .then(nw.lit("new"))
        .otherwise(
            nw.when(nw.col("before") == nw.col("period") - 1)
            .then(nw.lit("returning"))
            .otherwise(nw.lit("resurrecting"))
        )
    ).select("user_id", *view.by, "period", "state")
    left = (
        known.filter(nw.col("after").is_null() | (nw.col("after") > nw.col("period") + 1))
        .with_columns(period=nw.col("period") + 1, state=nw.lit("dormant"))
        .select("user_id", *view.by, "period", "state")
    )
    flows = nw.concat([came, left])
    return flows.filter(nw.col("period") >= view.first, nw.col("period") <= view.last)
