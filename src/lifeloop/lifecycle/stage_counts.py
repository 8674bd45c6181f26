"""How many users are in each stage, period by period."""

from typing import Unpack

import narwhals as nw
import numpy as np
import polars as pl
from narwhals.typing import IntoFrame

from lifeloop.lifecycle.coverage import FAR, covered, covering
from lifeloop.lifecycle.definitions import StageDefinitions
from lifeloop.lifecycle.frame import Events
from lifeloop.lifecycle.options import Options, View, opened, segments
from lifeloop.lifecycle.segments import splitting
from lifeloop.lifecycle.stages import SHOWN, name_of, shown_codes
from lifeloop.lifecycle.standing import standing
from lifeloop.lifecycle.tables import counted, members_of


@splitting
def stage_counts(
    events: Events,
    *,
    definitions: StageDefinitions,
    predictions: IntoFrame | None = None,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return the users in each stage at the end of each period; every user seen is in one.

    Stages are those shown (``stages``): the overlay if there is one, else the product stage.

    Parameters
    ----------
    events, definitions, predictions
        As for ``stages``.
    members : bool
        Return the users behind every cell instead: period, stage, user_id.
    **options
        See ``Options``. A running period is measured on the last day before ``as_of``.

    Returns
    -------
    polars.DataFrame
        (``by``,) period, one count per stage, partial(, small).

    References
    ----------
    spec/lifecycle.md, section 2 (product stages).
    """
    view = opened(events, options, named=bool(options.get("by")))
    named = members or bool(view.by)
    spans = stage_stretches(view, definitions, predictions, named=named)
    stretches = nw.from_native(spans).lazy()
    if members:
        rows = covering(view, stretches).rename({"label": "stage"})
        return members_of(view, rows, label="stage")
    return counted(view, covered(view, stretches), label="label", names=SHOWN)


def stage_stretches(
    view: View,
    d: StageDefinitions,
    predictions: IntoFrame | None = None,
    *,
    named: bool = True,
) -> pl.DataFrame:
    """Return the stretches of days of each stage and user: user_id, ``by``, label, begin, until.

    Without ``named``, ``user_id`` is the user's number, and there is no ``by``.
    """
    if view.log.lo_us is None:
        text = dict.fromkeys(("user_id", *view.by, "label"), pl.String)
        return pl.DataFrame(schema={**text, "begin": pl.Int64, "until": pl.Int64})
    stood = standing(view.log, d, predictions)
    p = stood.path
    follows = np.append(p.begin[1:], FAR)
    follows[np.append(p.user[1:] != p.user[:-1], True)] = FAR
    frame = pl.DataFrame(
        {
            "user_id": stood.user_ids.gather(p.user) if named else pl.Series(p.user),
            "label": name_of(pl.Series(shown_codes(p)), SHOWN),
            "begin": p.begin,
            "until": follows,
        }
    )
    if view.by:
        frame = frame.join(segments(view), on="user_id", how="left")
    return frame.select("user_id", *view.by, "label", "begin", "until")
