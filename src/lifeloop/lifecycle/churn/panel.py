"""Users as they stood on earlier days, and when they churned after: what the hazard learns from.

Everything about a user on day s is made of events up to s. Stages come from the path, which at s
is a function of events up to s as well; a refund counts on its own day.
"""

from dataclasses import dataclass

import narwhals as nw
import numpy as np
import polars as pl

from lifeloop.contracts import Long
from lifeloop.lifecycle.definitions import StageDefinitions
from lifeloop.lifecycle.frame import collect
from lifeloop.lifecycle.money import MICRO
from lifeloop.lifecycle.options import View
from lifeloop.lifecycle.path import CHURNED, Path
from lifeloop.lifecycle.purchases import order_lines
from lifeloop.lifecycle.standing import standing

NEVER = np.int64(1) << 40

FEATURES = (
    "silent_days", "tenure_days", "active_days", "active_7", "active_28", "active_84", "trend_28",
    "usual_gap", "silent_ratio", "events_28", "orders", "orders_84", "money", "money_84",
    "order_silent_days", "refunds", "product_stage", "at_risk", "times_churned",
)  # fmt: skip
"""What the hazard is told of a user, besides vectors of text."""

TEXT = "text."
"""How features begin that are numbers of a vector of text."""


@dataclass(frozen=True, eq=False)
class Panel:
    """What is known of everybody by day: ``days`` (user, day, events, paid, orders, refunds).

    ``user`` are dense indices into ``user_ids``; ``path`` is that of the stages.
    """

    user_ids: pl.Series
    days: pl.DataFrame
    path: Path
    first_day: int
    last_day: int


def panel_of(view: View, definitions: StageDefinitions) -> Panel:
    """Return the panel of everybody in the log."""
    stood = standing(view.log, definitions)
    ids = pl.DataFrame({"user_id": stood.user_ids}).with_row_index("user")
    active = collect(view.active().group_by("user_id", "day").agg(events=nw.len()))
    lines = order_lines(view.log, definitions.orders, definitions.refunds)
    money = collect(
        lines.group_by("user_id", "day").agg(
            paid=(nw.col("net") * nw.col("paid")).sum(),
            orders=nw.col("paid").max(),
            refunds=nw.col("refund").sum(),
        )
    ).with_columns(paid=pl.col("paid") / MICRO)
    days = active.join(money, on=["user_id", "day"], how="full", coalesce=True)
    days = days.with_columns(pl.col("events", "paid", "orders", "refunds").fill_null(0))
    days = days.join(ids, on="user_id", how="inner").sort("user", "day")
    low = days["day"].min()
    first = int(str(low)) if low is not None else view.log.last_day
    return Panel(stood.user_ids, days.drop("user_id"), stood.path, first, view.log.last_day)


def standing_at(panel: Panel, day: int, *, vectors: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return who is not churned on ``day``, with ``FEATURES`` as known that evening.

    Parameters
    ----------
    panel : Panel
        Of the log; what is later than ``day`` is not read.
    day : int
        Day number.
    vectors : DataFrame, optional
        ``user_id``, ``day`` and numbers, such as an encoding of what the user wrote by then: the
        newest row of each user up to ``day`` counts.
    """
    p = panel.path
    seen = np.flatnonzero(p.begin <= day)
    last = np.full(len(panel.user_ids), -1)
    last[p.user[seen]] = seen  # in order of the path: the newest wins
    fell = seen[_falls(p)[seen]]
    times = np.bincount(p.user[fell], minlength=len(panel.user_ids))
    known = np.flatnonzero(last >= 0)
    stage = pl.DataFrame(
        {
            "user": known.astype(np.uint32),
            "product_stage": p.product[last[known]].astype(np.float64),
            "overlay": p.overlay[last[known]],
            "times_churned": times[known].astype(np.float64),
        }
    )
    d = pl.col("day")
    acted = pl.col("events") > 0
    bought = pl.col("orders") > 0

    def within(n: int, what: pl.Expr) -> pl.Expr:
        return what.filter(d > day - n).sum().cast(pl.Float64)

    rows = (
        panel.days.filter(d <= day)
        .group_by("user")
        .agg(
            first=d.filter(acted).min(),
            last=d.filter(acted).max(),
            active_days=acted.sum().cast(pl.Float64),
            active_7=within(7, acted),
            active_28=within(28, acted),
            active_56=within(56, acted),
            active_84=within(84, acted),
            events_28=within(28, pl.col("events")),
            orders=bought.sum().cast(pl.Float64),
            orders_84=within(84, bought),
            money=pl.col("paid").sum(),
            money_84=within(84, pl.col("paid")),
            last_order=d.filter(bought).max(),
            refunds=pl.col("refunds").sum().cast(pl.Float64),
        )
        .filter(pl.col("last").is_not_null())
    )
    rows = rows.join(stage, on="user", how="inner").filter(pl.col("overlay") != CHURNED)
    gap = (pl.col("last") - pl.col("first")) / (pl.col("active_days") - 1)
    rows = rows.with_columns(
        silent_days=(day - pl.col("last")).cast(pl.Float64),
        tenure_days=(day - pl.col("first")).cast(pl.Float64),
        trend_28=2 * pl.col("active_28") - pl.col("active_56"),
        usual_gap=pl.when(pl.col("active_days") > 1).then(gap),
        order_silent_days=(day - pl.col("last_order")).cast(pl.Float64),
        at_risk=(pl.col("overlay") == 1).cast(pl.Float64),
    ).with_columns(silent_ratio=pl.col("silent_days") / pl.col("usual_gap"))
    rows = rows.select("user", *FEATURES).sort("user")
    return rows if vectors is None else _with_vectors(panel, rows, vectors, day)


def churn_day_after(panel: Panel, users: Long, day: int) -> Long:
    """Return the first day after ``day`` on which each of the users is churned, [n]; else NEVER."""
    p = panel.path
    fell = np.flatnonzero(_falls(p) & (p.begin > day))
    first = np.full(len(panel.user_ids), NEVER)
    np.minimum.at(first, p.user[fell], p.begin[fell])
    return np.asarray(first[users], np.int64)


def _falls(p: Path) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    churned = p.overlay == CHURNED
    before = np.append(False, churned[:-1] & (p.user[1:] == p.user[:-1]))[: len(churned)]
    return np.asarray(churned & ~before)


def _with_vectors(
    panel: Panel, rows: pl.DataFrame, vectors: pl.DataFrame, day: int
) -> pl.DataFrame:
    ids = pl.DataFrame({"user_id": panel.user_ids}).with_row_index("user")
    newest = vectors.filter(pl.col("day") <= day).sort("day").unique("user_id", keep="last")
    named = ids.join(newest, on="user_id", how="inner").drop("user_id", "day")
    named = named.rename({name: f"{TEXT}{name}" for name in named.columns if name != "user"})
    return rows.join(named, on="user", how="left", maintain_order="left")
