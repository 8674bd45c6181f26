"""Moves between stages: who went from where to where, when, and by which rule."""

from typing import Unpack

import numpy as np
import polars as pl
from narwhals.typing import IntoFrame

from lifeloop.lifecycle.definitions import StageDefinitions
from lifeloop.lifecycle.frame import Events
from lifeloop.lifecycle.options import SMALL_CELL, Options, View, opened, segments
from lifeloop.lifecycle.path import Path
from lifeloop.lifecycle.segments import splitting
from lifeloop.lifecycle.stages import SHOWN, described, name_of, shown_codes
from lifeloop.lifecycle.standing import standing


@splitting
def transitions(
    events: Events,
    *,
    definitions: StageDefinitions,
    predictions: IntoFrame | None = None,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return how many users moved from which stage to which, per period.

    Stages are those shown (``stages``): the overlay if there is one, else the product stage. A
    user moves at most once a day. The first appearance has no ``from``.

    Parameters
    ----------
    events : frame
        As for ``stages``.
    definitions : StageDefinitions
        What joins, activates, converts, and the thresholds; its ``passive`` types count.
    predictions : frame, optional
        As for ``stages``.
    members : bool
        Return the moves instead: period, date, user_id, from, to, rule.
    **options
        See ``Options``.

    Returns
    -------
    polars.DataFrame
        (``by``,) period, from (null: first appearance), to, n, partial(, small); only moves that
        happened.

    References
    ----------
    spec/lifecycle.md, section 2.
    """
    view = opened(events, options, named=bool(options.get("by")))
    moves = _moves(view, definitions, predictions, named=members)
    if members:
        columns = [*view.by, "period", "date", "user_id", "from", "to", "rule"]
        return moves.select(columns).sort(*view.by, "period", "date", "user_id")
    keys = [*view.by, "period", "from", "to", "partial"]
    order = pl.Enum(SHOWN)
    table = moves.group_by(keys).agg(n=pl.len().cast(pl.Int64))
    table = table.sort(*view.by, "period", pl.col("from").cast(order), pl.col("to").cast(order))
    columns = [*view.by, "period", "from", "to", "n", "partial"]
    if view.by:
        table = table.with_columns(small=pl.col("n") < SMALL_CELL)
        columns.append("small")
    return table.select(columns)


def _moves(
    view: View, d: StageDefinitions, predictions: IntoFrame | None, *, named: bool
) -> pl.DataFrame:
    # ``named``: with the day, the user and the rule of each.
    if view.log.lo_us is None:
        empty = {"period": pl.Date, "date": pl.Date, "partial": pl.Boolean}
        text = dict.fromkeys((*view.by, "user_id", "from", "to", "rule"), pl.String)
        return pl.DataFrame(schema={**empty, **text})
    stood = standing(view.log, d, predictions)
    f, p = stood.facts, stood.path
    shown = shown_codes(p)
    first = np.append(True, p.user[1:] != p.user[:-1])
    moved = np.flatnonzero(first | np.append(True, shown[1:] != shown[:-1]))
    low, high = view.first_day(view.first), view.last_day(view.last)
    moved = moved[(p.begin[moved] >= low) & (p.begin[moved] <= high)]
    before = np.where(first[moved], -1, shown[moved - 1])
    days = p.begin[moved]
    if named:
        made = Path(p.row[moved], p.user[moved], days, p.product[moved], p.overlay[moved])
        moves = described(stood.user_ids, f, made, definitions=d)
        moves = moves.select("date", "user_id", "rule", to="stage")
    else:
        moves = pl.DataFrame({"to": name_of(pl.Series(shown[moved]), SHOWN)})
        if view.by:
            moves = moves.with_columns(user_id=stood.user_ids.gather(p.user[moved]))
    moves = moves.with_columns(
        name_of(pl.Series("from", before), SHOWN),
        ix=pl.Series(view.periods_of(days), dtype=pl.Int64),
    )
    moves = moves.join(view.periods(), on="ix", how="inner", maintain_order="left")
    return moves.join(segments(view), on="user_id", how="left") if view.by else moves
