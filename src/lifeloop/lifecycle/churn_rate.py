"""Churn period by period: who was there when it began, and who of them was churned in it."""

from typing import Unpack

import polars as pl
from narwhals.typing import IntoFrame

from lifeloop.lifecycle.definitions import StageDefinitions
from lifeloop.lifecycle.frame import Events
from lifeloop.lifecycle.options import Options, View, opened
from lifeloop.lifecycle.rates import with_rate
from lifeloop.lifecycle.segments import splitting
from lifeloop.lifecycle.stage_counts import stage_stretches
from lifeloop.lifecycle.tables import finished, members_of, on_grid


@splitting
def churn_rate(
    events: Events,
    *,
    definitions: StageDefinitions,
    predictions: IntoFrame | None = None,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return the share of the users not churned at the start of each period who churn in it.

    rate = churned in the period / users seen before it and not churned on the eve of its first
    day. Churned is what the stages call so: a contract that ended, or silence of
    ``churned_gap_days``; who comes back within the period has churned in it all the same. How
    likely churn is before the silence is long is 1 − P(alive): ``churn.churn_risk``.

    Parameters
    ----------
    events, definitions, predictions
        As for ``stages``.
    members : bool
        Return the users behind every cell instead: period, status (churned, kept), user_id.
    **options
        See ``Options``.

    Returns
    -------
    polars.DataFrame
        (``by``,) period, n, churned, rate, rate_low, rate_high, reason, partial(, small).
        In the log's first ``churned_gap_days`` nobody can be churned by silence: the rate is null.

    References
    ----------
    spec/lifecycle.md, section 2 (churn).
    """
    view = opened(events, options, named=bool(options.get("by")))
    named = members or bool(view.by)
    stretches = stage_stretches(view, definitions, predictions, named=named)
    spans = _spans(view, _stays(stretches))
    keys = [*view.by, "begins", "stops", "gone"]
    if members:
        rows = _each(view, spans.select("user_id", *keys))
        return members_of(
            view, rows.select(*view.by, "period", "status", "user_id"), label="status"
        )
    rows = _each(view, spans.group_by(keys).agg(users=pl.len().cast(pl.Int64)))
    left = pl.col("users").filter(pl.col("status") == "churned").sum()
    cells = rows.group_by(*view.by, "period").agg(n=pl.col("users").sum(), churned=left)
    table = on_grid(view, cells).with_columns(pl.col("n", "churned").fill_null(0))
    table = with_rate(table, hits="churned", reason="nobody was there when the period began")
    table = _unless_too_early(view, table, definitions)
    values = ["n", "churned", "rate", "rate_low", "rate_high", "reason"]
    return finished(view, table, values, users=pl.col("n"))


def _unless_too_early(view: View, table: pl.DataFrame, d: StageDefinitions) -> pl.DataFrame:
    # Nobody can have been silent for longer than there is a log: 0% would be said by accident.
    earliest = view.first_new_day - view.settings.burn_in_days + d.churned_gap_days
    ends = pl.Series([view.last_day(p) for p in table["ix"].to_list()], dtype=pl.Int64)
    early = pl.lit(ends < earliest) & (pl.col("n") > 0) & pl.lit(not d.ends)
    why = f"the log is too young: nobody can have been silent for {d.churned_gap_days} days"
    return table.with_columns(
        *(pl.when(~early).then(name).alias(name) for name in ("rate", "rate_low", "rate_high")),
        reason=pl.when(early).then(pl.lit(why)).otherwise("reason"),
    )


def _stays(stretches: pl.DataFrame) -> pl.DataFrame:
    # From a user's first day, or the day of coming back, until the day of being churned.
    rows = stretches.sort("user_id", "begin").with_columns(away=pl.col("label") == "churned")
    anew = (pl.col("user_id") != pl.col("user_id").shift()) | pl.col("away").shift()
    rows = rows.with_columns(stay=anew.fill_null(value=True).cum_sum()).filter(~pl.col("away"))
    by = [name for name in rows.columns if name not in ("label", "begin", "until", "away", "stay")]
    kept = rows.group_by("stay", maintain_order=True)
    return kept.agg(pl.col(by).first(), pl.col("begin").min(), pl.col("until").max())


def _spans(view: View, stays: pl.DataFrame) -> pl.DataFrame:
    # The periods (from 0) on whose eve the stay holds: from ``begins`` to before ``stops``;
    # ``gone``: it ends within the last of them.
    n = 0 if view.empty else view.last - view.first + 1
    opens = pl.Series([view.first_day(view.first + k) for k in range(n and n + 1)], dtype=pl.Int64)
    begins = opens.search_sorted(stays["begin"], side="right").cast(pl.Int64)
    ends = opens.search_sorted(stays["until"], side="right").cast(pl.Int64)
    spans = stays.with_columns(begins=begins, stops=ends.clip(upper_bound=n), gone=ends <= n)
    return spans.filter(pl.col("begins") < pl.col("stops"))


def _each(view: View, spans: pl.DataFrame) -> pl.DataFrame:
    # One row per span and period in it.
    rows = spans.with_columns(k=pl.int_ranges("begins", "stops")).explode("k")
    last = pl.col("gone") & (pl.col("k") == pl.col("stops") - 1)
    status = pl.when(last).then(pl.lit("churned")).otherwise(pl.lit("kept"))
    return rows.with_columns(period=pl.col("k") + view.first, status=status)
