"""What users say and whom they bring: satisfaction (CSAT, NPS) and referrals."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack

import narwhals as nw
import polars as pl

from lifeloop.lifecycle.coverage import FAR, covered, covering
from lifeloop.lifecycle.frame import Events, Lazy, collect, distinct, kept, of_types
from lifeloop.lifecycle.numbered import numbered_firsts
from lifeloop.lifecycle.options import SMALL_CELL, Options, View, opened
from lifeloop.lifecycle.rates import Z95, with_rate
from lifeloop.lifecycle.segments import splitting
from lifeloop.lifecycle.tables import finished, members_of, on_grid
from lifeloop.lifecycle.within import day_of_kth

FRESH_DAYS = 90
"""An answer speaks for its user this long, or until the next answer."""

SCALES = {"csat": (1, 5), "nps": (0, 10)}
"""Allowed answers: whole numbers, inclusive."""


@splitting
def satisfaction(
    events: Events,
    *,
    csat_types: Sequence[str] = ("csat",),
    nps_types: Sequence[str] = ("nps",),
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return CSAT and NPS at the end of each period, over the last answer of each user.

    csat = share of answers 4–5 of 1–5; nps = 100 · (share of 9–10 − share of 0–6) of 0–10. Each
    user has one voice: the last answer of the 90 days up to the period's last day. Answers out of
    range, fractions and answers without a rating are refused and counted.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``, ``rating``, optionally ``seq`` (order within an instant).
    csat_types, nps_types : sequence of str
        Event types that are answers on either scale.
    members : bool
        Return period, answer (satisfied, unsatisfied, promoter, passive, detractor, refused),
        user_id; who was refused twice in a period is there twice.
    **options
        See ``Options``.

    Returns
    -------
    polars.DataFrame
        (``by``,) period, csat_n, satisfied, csat, csat_low, csat_high, csat_reason, nps_n,
        promoters, detractors, nps, nps_low, nps_high (95%, normal), nps_reason, refused (answers
        of the period), small (an n under 30), partial.

    References
    ----------
    spec/lifecycle.md, section 2.
    """
    view = opened(events, options, needs=("rating",))
    kinds = {"csat": tuple(csat_types), "nps": tuple(nps_types)}
    read = ("user_id", *view.by, "t_us", "day", "type", "rating", "seq", "event_id")
    asked = view.log.of((*kinds["csat"], *kinds["nps"]))
    there = {*view.log.columns, *view.by, "day"}
    asked = kept(asked.select(name for name in read if name in there))
    view = replace(view, log=view.log.having(asked))
    voices = nw.concat([_voices(view, types, scale) for scale, types in kinds.items()])
    if members:
        rows = covering(view, voices).rename({"label": "answer"})
        wrong = collect(_all_refused(view, kinds)).with_columns(answer=pl.lit("refused"))
        return members_of(view, pl.concat([rows, wrong.select(rows.columns)]), label="answer")
    cells = (
        covered(view, voices)
        .group_by(*view.by, "period")
        .agg(
            pl.col("users").filter(pl.col("label") == name).sum().cast(pl.Int64).alias(name)
            for name in ("satisfied", "unsatisfied", "promoter", "passive", "detractor")
        )
    )
    bad = _all_refused(view, kinds)
    refused = collect(bad.group_by(*view.by, "period").agg(refused=nw.len()))
    cells = cells.join(refused, on=[*view.by, "period"], how="full", coalesce=True)
    table = on_grid(view, cells).with_columns(
        pl.col("satisfied", "unsatisfied", "promoter", "passive", "detractor", "refused").fill_null(
            0
        )
    )
    table = table.with_columns(
        csat_n=pl.col("satisfied") + pl.col("unsatisfied"),
        nps_n=pl.sum_horizontal("promoter", "passive", "detractor"),
        promoters=pl.col("promoter"),
        detractors=pl.col("detractor"),
    )
    why = f"no answers in the last {FRESH_DAYS} days"
    table = with_rate(table, hits="satisfied", n="csat_n", name="csat", reason=why)
    table = _with_nps(table.rename({"reason": "csat_reason"}), why).with_columns(
        small=(pl.col("csat_n") < SMALL_CELL) | (pl.col("nps_n") < SMALL_CELL)
    )
    values = [
        *("csat_n", "satisfied", "csat", "csat_low", "csat_high", "csat_reason"),
        *("nps_n", "promoters", "detractors", "nps", "nps_low", "nps_high", "nps_reason"),
        *("refused", "small"),
    ]
    if view.by:
        values.remove("small")
    return finished(view, table, values, users=pl.min_horizontal("csat_n", "nps_n"))


@splitting
def referrals(
    events: Events,
    *,
    activates: Sequence[str],
    times: int = 1,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return the share of active users who have brought at least one activated user.

    A referee names ``referrer_id`` on any event and is activated by doing the key action
    ``times`` times; from the later of the two days on the referrer counts. Referring oneself does
    not.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``, ``referrer_id``.
    activates : sequence of str
        The key actions.
    times : int
        How many of them activate.
    members : bool
        Return period, status (referrer, other), user_id of the active users instead.
    **options
        See ``Options``.

    Returns
    -------
    polars.DataFrame
        (``by``,) period, n (active users), referrers, rate, rate_low, rate_high, reason, partial.
    """
    view = opened(events, options, needs=("referrer_id",), named=members)
    named = view.log.frame.filter(
        ~nw.col("referrer_id").is_null(), nw.col("referrer_id") != nw.col("user_id")
    )
    pairs = named.group_by("user_id", "referrer_id").agg(named_on=nw.col("day").min())
    referrer = nw.col("referrer_id")
    if view.log.named:
        referrer = referrer.cast(nw.String)
    done = day_of_kth(view, tuple(activates), times)
    brought = (
        pairs.join(done, on="user_id", how="inner")
        .with_columns(since=nw.max_horizontal(nw.col("named_on"), nw.col("done")))
        .group_by("referrer_id")
        .agg(since=nw.col("since").min())
        .select(user_id=referrer, day=nw.col("since"))
    )
    brought = view.with_period(brought).select("user_id", from_period=nw.col("period"))
    quick = numbered_firsts(view)
    people = view.user_periods() if quick is None else quick.select("user_id", "period")
    people = people.filter(nw.col("period") >= view.first, nw.col("period") <= view.last)
    since = nw.col("from_period")
    rows = people.join(brought, on="user_id", how="left").with_columns(
        status=nw.when((~since.is_null()) & (since <= nw.col("period")))
        .then(nw.lit("referrer"))
        .otherwise(nw.lit("other"))
    )
    if members:
        return members_of(view, collect(rows), label="status")
    counted = collect(rows.group_by(*view.by, "period", "status").agg(users=nw.len()))
    cells = counted.group_by(*view.by, "period").agg(
        n=pl.col("users").sum(),
        referrers=pl.col("users").filter(pl.col("status") == "referrer").sum(),
    )
    table = on_grid(view, cells).with_columns(pl.col("n", "referrers").fill_null(0))
    table = with_rate(table, hits="referrers", reason="nobody was active")
    values = ["n", "referrers", "rate", "rate_low", "rate_high", "reason"]
    return finished(view, table, values, users=pl.col("n"))


def _answers(view: View, types: tuple[str, ...], scale: str) -> tuple[Lazy, nw.Expr]:
    low, high = SCALES[scale]
    rating = nw.col("rating").cast(nw.Float64)
    asked = view.log.frame.filter(of_types(types))
    whole = rating.is_finite() & (rating == rating.round(0))
    return asked, (whole & (rating >= low) & (rating <= high)).fill_null(value=False)


def _all_refused(view: View, kinds: dict[str, tuple[str, ...]]) -> Lazy:
    # The answers that are none: user_id, by, period.
    parts = []
    for scale, types in kinds.items():
        asked, good = _answers(view, types, scale)
        bad = distinct(asked.filter(~good), view.log.columns)
        parts.append(bad.select("user_id", *view.by, "day"))
    return view.with_period(nw.concat(parts)).select("user_id", *view.by, "period")


def _voices(view: View, types: tuple[str, ...], scale: str) -> Lazy:
    # The last answer of each user and day, from that day until the next or until it is stale.
    asked, good = _answers(view, types, scale)
    answers = asked.filter(good)
    ties = ["seq"] if "seq" in view.log.columns else []
    in_time: dict[str, Any] = {"order_by": ["t_us", *ties, "rating"]}
    ordered = answers.with_columns(
        after=nw.col("day").shift(-1).over("user_id", **in_time).fill_null(FAR)
    )
    last = ordered.filter(nw.col("after") > nw.col("day"))
    rating = nw.col("rating")
    if scale == "csat":
        label = nw.when(rating >= 4).then(nw.lit("satisfied")).otherwise(nw.lit("unsatisfied"))
    else:
        label = (
            nw.when(rating >= 9)
            .then(nw.lit("promoter"))
            .otherwise(nw.when(rating >= 7).then(nw.lit("passive")).otherwise(nw.lit("detractor")))
        )
    return last.select(
        "user_id",
        *view.by,
        label=label,
        begin=nw.col("day"),
        until=nw.min_horizontal(nw.col("after"), nw.col("day") + FRESH_DAYS),
    )


def _with_nps(table: pl.DataFrame, why: str) -> pl.DataFrame:
    n, some = pl.col("nps_n"), pl.col("nps_n") > 0
    up, down = pl.col("promoters") / n, pl.col("detractors") / n
    spread = Z95 * ((up + down - (up - down) ** 2).clip(0) / n).sqrt()
    return table.with_columns(
        nps=pl.when(some).then(100 * (up - down)),
        nps_low=pl.when(some).then((100 * (up - down - spread)).clip(-100, 100)),
        nps_high=pl.when(some).then((100 * (up - down + spread)).clip(-100, 100)),
        nps_reason=pl.when(~some).then(pl.lit(why)),
    )
