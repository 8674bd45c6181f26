"""Who is about to leave, why, and what is at stake; and how good such chances were before."""

from collections.abc import Callable
from typing import Unpack

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.errors import InputError, Unfit
from lifeloop.lifecycle.churn.hazard import WEEK, Hazard, churned_within, fit_hazard, matrix
from lifeloop.lifecycle.churn.judge import brier, c_index, reliability
from lifeloop.lifecycle.churn.panel import Panel, churn_day_after, panel_of, standing_at
from lifeloop.lifecycle.churn.reasons import reasons
from lifeloop.lifecycle.clv import Terms, predict
from lifeloop.lifecycle.definitions import PRODUCT_STAGES, StageDefinitions
from lifeloop.lifecycle.frame import Events
from lifeloop.lifecycle.ltv import SEED, purchase_days
from lifeloop.lifecycle.options import Options, View, opened, segments
from lifeloop.lifecycle.stages import dates_of, ended

Floats = NDArray[np.float64]

Texts = Callable[[int], pl.DataFrame | None]
"""What users wrote as vectors that were learned from texts up to a day; see ``standing_at``."""


def churn_risk(
    events: Events,
    *,
    definitions: StageDefinitions,
    within_days: int = 56,
    terms: Terms | None = None,
    texts: Texts | None = None,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return the chance that each user who is not churned will be so within the days to come.

    The user may be back later: churned is what the stages call so (``churned_gap_days`` of
    silence, or the end of a contract).

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``, optionally ``order_id``, ``value``.
    definitions : StageDefinitions
        What is being churned.
    within_days : int
        How far ahead, in whole weeks.
    terms : Terms, optional
        Of the predicted value.
    texts : callable, optional
        Vectors of what users wrote; read only where they made earlier chances better.
    members : bool
        No effect: the table is one row per user already.
    **options
        See ``Options``; ``start`` and ``grain`` have no effect.

    Returns
    -------
    polars.DataFrame
        (``by``,) user_id, product_stage, last_active, silent_days, p_churn, value (predicted; null
        where none can be), value_at_risk (p_churn · value), first_reason, second_reason,
        third_reason (what raises the risk), the largest value at risk first.

    Raises
    ------
    Unfit
        Too short a log, or too few who churned: the message says so.
    """
    del members
    weeks = _weeks(within_days)
    view, panel = _panel(events, definitions, options)
    hazard, now = _learned(panel, panel.last_day, weeks, texts)
    features = matrix(now)
    told = reasons(hazard, features)
    silent = now["silent_days"].to_numpy().astype(np.int64)
    rows = pl.DataFrame(
        {
            "user_id": panel.user_ids.gather(now["user"]),
            "product_stage": [PRODUCT_STAGES[int(code)] for code in now["product_stage"]],
            "last_active": dates_of(panel.last_day - silent),
            "silent_days": silent,
            "p_churn": hazard.probability(features),
            "first_reason": pl.Series([t[0] for t in told], dtype=pl.String),
            "second_reason": pl.Series([t[1] for t in told], dtype=pl.String),
            "third_reason": pl.Series([t[2] for t in told], dtype=pl.String),
        }
    )
    worth = _values(events, definitions, terms or Terms(), options)
    rows = rows.join(worth, on="user_id", how="left", maintain_order="left")
    rows = rows.with_columns(value_at_risk=pl.col("p_churn") * pl.col("value"))
    if view.by:
        rows = rows.join(segments(view), on="user_id", how="left", maintain_order="left")
    order = ["value_at_risk", "p_churn", "user_id"]
    return rows.sort(order, descending=[True, True, False], nulls_last=True).select(
        *view.by, "user_id", "product_stage", "last_active", "silent_days", "p_churn", "value",
        "value_at_risk", "first_reason", "second_reason", "third_reason",
    )  # fmt: skip


def churn_calibration(
    events: Events,
    *,
    definitions: StageDefinitions,
    within_days: int = 56,
    texts: Texts | None = None,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return stated beside observed churn: the model as it was ``within_days`` ago, and what came.

    Returns
    -------
    polars.DataFrame
        bin (tenths of the users by stated chance), n, stated, observed, observed_low,
        observed_high. With ``members``: user_id, stated, churned.
    """
    weeks = _weeks(within_days)
    _, panel = _panel(events, definitions, options)
    rows, p, truth, _ = _past(panel, weeks, texts)
    if members:
        ids = panel.user_ids.gather(rows["user"])
        return pl.DataFrame({"user_id": ids, "stated": p, "churned": truth}).sort("user_id")
    return reliability(p, truth)


def churn_backtest(
    events: Events,
    *,
    definitions: StageDefinitions,
    within_days: int = 56,
    texts: Texts | None = None,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return how good the chances of ``within_days`` ago were, beside simpler ones.

    ``silence``: what share of users as long silent churned before; ``base_rate``: the share of all.

    Returns
    -------
    polars.DataFrame
        model, as_of (date), n, churned, stated (mean), observed, brier, c_index. With ``members``
        as for ``churn_calibration``.
    """
    if members:
        return churn_calibration(
            events, definitions=definitions, within_days=within_days, texts=texts, members=True,
            **options,
        )  # fmt: skip
    weeks = _weeks(within_days)
    _, panel = _panel(events, definitions, options)
    rows, p, truth, floors = _past(panel, weeks, texts)
    day = panel.last_day - weeks * WEEK
    falls = churn_day_after(panel, rows["user"].to_numpy().astype(np.int64), day)
    week = np.minimum((falls - day + WEEK - 1) // WEEK, weeks + 1)
    table = [
        {
            "model": name,
            "n": len(truth),
            "churned": int(truth.sum()),
            "stated": float(said.mean()),
            "observed": float(truth.mean()),
            "brier": brier(said, truth),
            "c_index": c_index(said, week),
        }
        for name, said in (("hazard", p), *floors.items())
    ]
    dated = pl.DataFrame(table, schema_overrides={"c_index": pl.Float64})
    return dated.select(
        "model", dates_of(np.full(len(table), day)).alias("as_of"), pl.all().exclude("model")
    )


def _learned(
    panel: Panel, day: int, weeks: int, texts: Texts | None
) -> tuple[Hazard, pl.DataFrame]:
    # the vectors are learned from what the first of the two fits may know
    vectors = None if texts is None else texts(day - weeks * WEEK)
    rng = np.random.default_rng(SEED)
    hazard = fit_hazard(panel, known=day, weeks=weeks, rng=rng, vectors=vectors)
    return hazard, standing_at(panel, day, vectors=vectors if hazard.reads_text else None)


def _past(
    panel: Panel, weeks: int, texts: Texts | None
) -> tuple[pl.DataFrame, Floats, NDArray[np.bool_], dict[str, Floats]]:
    day = panel.last_day - weeks * WEEK
    hazard, rows = _learned(panel, day, weeks, texts)
    if rows.is_empty():
        raise Unfit(
            "nobody was there to churn on the day from which the rest was hidden",
            got=f"{weeks} weeks hidden",
            hint="ask for fewer days ahead, or read a log with users who stay",
        )
    truth = churned_within(panel, rows, day, weeks)
    return rows, hazard.probability(matrix(rows)), truth, _floors(panel, rows, day, weeks)


def _floors(panel: Panel, rows: pl.DataFrame, day: int, weeks: int) -> dict[str, Floats]:
    before = day - weeks * WEEK
    past = standing_at(panel, before)
    fell = churned_within(panel, past, before, weeks).astype(np.float64)
    if past.is_empty():  # nobody to learn a share from: even odds
        return {name: np.full(rows.height, 0.5) for name in ("silence", "base_rate")}
    silent = past["silent_days"].to_numpy().astype(np.int64)
    n = np.bincount(silent, minlength=int(silent.max()) + 1)
    share = (np.bincount(silent, weights=fell) + fell.mean()) / (n + 1)
    now = np.minimum(rows["silent_days"].to_numpy().astype(np.int64), len(share) - 1)
    return {"silence": share[now], "base_rate": np.full(rows.height, fell.mean())}


def _panel(events: Events, definitions: StageDefinitions, options: Options) -> tuple[View, Panel]:
    view = opened(events, ended({**options, "burn_in_days": definitions.burn_in_days}))
    if view.log.lo_us is None:
        raise Unfit("nobody to watch", hint="import events first")
    return view, panel_of(view, definitions)


def _values(
    events: Events, definitions: StageDefinitions, terms: Terms, options: Options
) -> pl.DataFrame:
    try:
        view, days = purchase_days(events, definitions.orders, definitions.refunds, options)
        rng = np.random.default_rng(SEED)
        found = predict(days, as_of=view.log.last_day, terms=terms, rng=rng)
    except InputError:
        return pl.DataFrame(schema={"user_id": pl.String, "value": pl.Float64})
    return found.customers.select("user_id", "value")


def _weeks(within_days: int) -> int:
    if within_days < WEEK:
        raise InputError(
            "within_days is too short", got=within_days, allowed=f"{WEEK} or more, in whole weeks"
        )
    return -(-within_days // WEEK)
