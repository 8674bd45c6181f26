"""What changed in the newest complete period, and why, from identities that hold exactly.

Active users: the change is new + resurrecting − dormant (growth accounting). Revenue: orders times
the value of an order. A stage: who moved in less who moved out. A change is called unusual when it
is larger than twice the root mean square of the earlier changes in the trend.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import polars as pl

from lifeloop.contracts import Table
from lifeloop.serve.dashboard import formats
from lifeloop.serve.dashboard.filters import Filters
from lifeloop.serve.dashboard.view import View
from lifeloop.tables import Overview

UNUSUAL = 2.0
MOST = 6
_LEAST_N = 30
_LEAST_TREND = 4


@dataclass(frozen=True, slots=True)
class Story:
    """One change in words: what, why, whether it is out of the ordinary, where to look."""

    kind: str
    text: str
    why: str | None
    unusual: bool
    link: str


def stories(view: View, told: Overview, filters: Filters) -> list[Story]:
    """Return what changed, the unusual first."""
    asked = {**filters.whole(), "lang": view.lang}
    growth, moves, counts = (
        view.desk.table(name, **asked)
        for name in ("growth_accounting", "transitions", "stage_counts")
    )
    rows = {row["metric"]: row for row in told.metrics.rows.iter_rows(named=True)}
    found = [
        _active(view, growth),
        _revenue(view, rows),
        *_stages(view, counts, moves),
        *_rates(view, rows),
    ]
    kept = [story for story in found if story is not None]
    return sorted(kept, key=lambda story: not story.unusual)[:MOST]


def _active(view: View, growth: Table) -> Story | None:
    rows = _complete(growth)
    if rows.height < 2:
        return None
    last, before = rows.row(-1, named=True), rows.row(-2, named=True)
    now = last["new"] + last["returning"] + last["resurrecting"]
    then = before["new"] + before["returning"] + before["resurrecting"]
    totals = (rows["new"] + rows["returning"] + rows["resurrecting"]).to_list()
    t = view.t["changes"]
    return Story(
        kind="retention",
        text=t["active"].format(
            now=f"{now:,}", then=f"{then:,}", change=_relative(now, then, "integer")
        ),
        why=t["active_why"].format(
            new=f"{last['new']:,}",
            back=f"{last['resurrecting']:,}",
            gone=f"{abs(last['dormant']):,}",
        ),
        unusual=unusual(totals[-9:]),
        link="/dashboard/tables/growth_accounting",
    )


def _revenue(view: View, rows: Mapping[str, Any]) -> Story | None:
    net, orders, aov = (rows.get(name) for name in ("net", "orders", "aov"))
    if not net or not orders or not aov or net["change"] is None:
        return None
    t = view.t["changes"]

    def worth(value: float) -> str:
        return formats.short(value, "money", lang=view.lang, currency=view.currency)

    parts = {
        "orders": formats.change(orders["change"], "integer"),
        "aov": formats.change(aov["change"], "money"),
    }
    return Story(
        kind="conversion",
        text=t["revenue"].format(
            now=worth(net["value"]),
            then=worth(net["before"]),
            change=formats.change(net["change"], "money"),
        ),
        why=None if None in parts.values() else t["revenue_why"].format(**parts),
        unusual=unusual(net["recent"]),
        link="/dashboard/tables/orders",
    )


def _stages(view: View, counts: Table, moves: Table) -> list[Story]:
    """Return the two stages whose size changed most, with where people came from and went."""
    rows = _complete(counts)
    if rows.height < 2 or moves.reason is not None:
        return []
    last, before = rows.row(-1, named=True), rows.row(-2, named=True)
    stages = [c for c in rows.columns if c not in ("period", "partial")]
    flow = moves.rows.filter(pl.col("period") == last["period"])
    t, told = view.t["changes"], []
    largest = sorted(stages, key=lambda s: -abs(last[s] - before[s]))[:2]
    for stage in largest:
        if last[stage] == before[stage]:
            continue
        come = flow.filter((pl.col("to") == stage) & pl.col("from").ne_missing(stage))
        gone = flow.filter((pl.col("from") == stage) & (pl.col("to") != stage))
        told.append(
            Story(
                kind=stage,
                text=t["stage"].format(
                    stage=_large(view.said.value(stage)),
                    now=f"{last[stage]:,}",
                    then=f"{before[stage]:,}",
                    change=_relative(last[stage], before[stage], "integer"),
                ),
                why=t["stage_why"].format(
                    come=_listed(view, come, "from"), gone=_listed(view, gone, "to")
                ),
                unusual=unusual(rows[stage].to_list()[-9:]),
                link=f"/dashboard/stages/{stage}",
            )
        )
    return told


def _rates(view: View, rows: Mapping[str, Any]) -> list[Story]:
    """Return the shares of enough people that changed by more than their own noise."""
    told = []
    for name, row in rows.items():
        if row["unit"] != "share" or row["change"] is None or (row["n"] or 0) < _LEAST_N:
            continue
        share = row["before"]
        noise = math.sqrt(max(share * (1 - share), 1e-9) * 2 / row["n"])
        if abs(row["change"]) < UNUSUAL * noise:
            continue
        told.append(
            Story(
                kind=row["stage"],
                text=view.t["changes"]["rate"].format(
                    name=_large(view.said.value(name)),
                    now=formats.percent(row["value"]),
                    then=formats.percent(share),
                    change=formats.change(row["change"], "share"),
                ),
                why=view.t["changes"]["rate_why"].format(n=f"{row['n']:,}"),
                unusual=unusual(row["recent"]),
                link=f"/dashboard/stages/{row['stage']}",
            )
        )
    return told


def unusual(trend: Sequence[float]) -> bool:
    """Return whether the last change is beyond twice the root mean square of those before."""
    steps = [b - a for a, b in pairwise(trend)]
    if len(steps) < _LEAST_TREND:
        return False
    earlier = steps[:-1]
    usual = math.sqrt(sum(s * s for s in earlier) / len(earlier))
    return abs(steps[-1]) > UNUSUAL * usual


def _listed(view: View, flow: pl.DataFrame, side: str) -> str:
    if flow.is_empty():
        return str(view.t["changes"]["nobody"])
    named = flow.group_by(side).agg(pl.col("n").sum()).sort("n", side, descending=[True, False])
    parts = [
        f"{n:,} {view.said.value('first_seen' if stage is None else stage)}"
        for stage, n in named.head(3).iter_rows()
    ]
    total = int(named["n"].sum())
    return f"{total:,} ({', '.join(parts)})"


def _large(text: str) -> str:
    return text[:1].upper() + text[1:]


def _relative(now: float, then: float, unit: str) -> str:
    return formats.change(now / then - 1, unit) or "" if then else formats.NONE


def _complete(table: Table) -> pl.DataFrame:
    if table.reason is not None or table.rows.is_empty():
        return pl.DataFrame()
    return table.rows.filter(~pl.col("partial")).sort("period")
