"""Growth accounting: where the active users of each period come from, and who left."""

from typing import Any, Unpack

import narwhals as nw
import polars as pl

from lifeloop.lifecycle.frame import Events, Lazy, collect
from lifeloop.lifecycle.numbered import numbered_periods
from lifeloop.lifecycle.options import Options, View, opened
from lifeloop.lifecycle.segments import splitting
from lifeloop.lifecycle.tables import finished, members_of, on_grid

FLOWS = ("new", "returning", "resurrecting", "dormant")


@splitting
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
    view = opened(events, options, named=members)
    known = _with_before(view, named=members)
    if members:
        return members_of(view, collect(_flows(view, known)), label="state")
    keys = [*view.by, "period"]
    came = known.group_by(*keys).agg(
        active=nw.len(),
        new=nw.col("is_new").cast(nw.Int64).sum(),
        returning=nw.col("is_back").cast(nw.Int64).sum(),
    )
    table = _with_dormant(view, collect(came))
    return finished(view, table, list(FLOWS), users=pl.sum_horizontal(pl.col(FLOWS).abs()))


def _with_before(view: View, *, named: bool) -> Lazy:
    previous: dict[str, Any] = {"order_by": "period"}
    periods = None if named else numbered_periods(view)
    if periods is None:
        periods = view.known_periods().with_columns(
            before=nw.col("period").shift(1).over("user_id", **previous)
        )
    return periods.with_columns(
        is_new=nw.col("before").is_null() & ~nw.col("burnt"),
        is_back=(nw.col("before") == nw.col("period") - 1).fill_null(value=False),
    )


def _with_dormant(view: View, came: pl.DataFrame) -> pl.DataFrame:
    # Who was active in t−1 and is not returning in t is dormant in t.
    left = came.select(*view.by, pl.col("period") + 1, was=pl.col("active"))
    cells = came.join(left, on=[*view.by, "period"], how="full", coalesce=True)
    shown = cells.filter(pl.col("period") >= view.first, pl.col("period") <= view.last)
    table = on_grid(view, shown).with_columns(
        pl.col("active", "new", "returning", "was").fill_null(0)
    )
    return table.with_columns(
        resurrecting=pl.col("active") - pl.col("new") - pl.col("returning"),
        dormant=pl.col("returning") - pl.col("was"),
    )


def _flows(view: View, known: Lazy) -> Lazy:
    previous: dict[str, Any] = {"order_by": "period"}
    state = (
        nw.when(nw.col("is_new"))
        .then(nw.lit("new"))
        .otherwise(
            nw.when(nw.col("is_back")).then(nw.lit("returning")).otherwise(nw.lit("resurrecting"))
        )
    )
    followed = known.with_columns(
        state=state, after=nw.col("period").shift(-1).over("user_id", **previous)
    )
    columns = ["user_id", *view.by, "period", "state"]
    left = followed.filter(nw.col("after").is_null() | (nw.col("after") > nw.col("period") + 1))
    left = left.with_columns(period=nw.col("period") + 1, state=nw.lit("dormant"))
    flows = nw.concat([followed.select(columns), left.select(columns)])
    return flows.filter(nw.col("period") >= view.first, nw.col("period") <= view.last)
