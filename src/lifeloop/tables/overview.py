"""The five stages at a glance: who is where, the key metrics of each, and where they are going."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from lifeloop.charts.words import Words, kind_of, words
from lifeloop.contracts import Column, Table
from lifeloop.errors import InputError
from lifeloop.lifecycle import SHOWN
from lifeloop.lifecycle.calendar import Grain
from lifeloop.lifecycle.shared import shared
from lifeloop.tables.compute import table_of
from lifeloop.tables.source import Source

Unit = Literal["integer", "number", "share", "money"]

RECENT = 8
"""Complete periods shown as a trend."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key metric: a column of a table, of the stage it speaks for."""

    name: str
    stage: str
    table: str
    column: str
    unit: Unit
    n: str | None = None
    partial: str = "partial"
    options: tuple[tuple[str, Any], ...] = ()
    offset: int | None = None


KEYS = (
    Key("visitors", "acquisition", "traffic", "visitors", "integer"),
    Key("new_users", "acquisition", "growth_accounting", "new", "integer"),
    Key("signup_rate", "acquisition", "signup_conversion", "rate", "share", "n"),
    Key("activation_rate", "activation", "activation", "rate", "share", "n"),
    Key("active", "retention", "active_users", "mau", "integer"),
    Key("stickiness", "retention", "active_users", "stickiness", "share", "mau"),
    Key("next_period", "retention", "retention", "rate", "share", "n",
        options=(("max_offset", 1),), offset=1),
    Key("resurrecting", "retention", "growth_accounting", "resurrecting", "integer"),
    Key("dormant", "retention", "growth_accounting", "dormant", "integer"),
    Key("conversion_rate", "conversion", "conversion", "rate", "share", "n"),
    Key("orders", "conversion", "orders", "orders", "integer"),
    Key("net", "conversion", "orders", "net", "money"),
    Key("aov", "conversion", "orders", "aov", "money", "valued_orders"),
    Key("frequency", "loyalty", "orders", "frequency", "number", "buyers"),
    Key("repeat_rate", "loyalty", "orders", "repeat_rate", "share", "repeat_n",
        partial="repeat_partial"),
    Key("referral_rate", "loyalty", "referrals", "rate", "share", "n"),
    Key("csat", "loyalty", "satisfaction", "csat", "share", "csat_n"),
    Key("nps", "loyalty", "satisfaction", "nps", "number", "nps_n"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Overview:
    """``stages``: users per stage; ``metrics``: the key metrics; ``notes``: what to know."""

    stages: Table
    metrics: Table
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return both tables and the notes as one JSON object."""
        return {
            "stages": self.stages.to_json(),
            "metrics": self.metrics.to_json(),
            "notes": list(self.notes),
        }


def overview(
    source: Source, *, grain: Grain = "week", lang: str | None = None, **asked: Any
) -> Overview:
    """Return the overview of everything read.

    Parameters
    ----------
    source : Source
        From ``read_source``.
    grain : "day" | "week" | "month"
        The newest complete period is set against the complete one before.
    lang : "en" | "zh", optional
        Default: the scenario's language.
    **asked
        ``start``, ``end``, ``where`` and ``include_bots`` of ``table_of``, for every table.

    Returns
    -------
    Overview
        ``metrics``: stage, metric, unit, period, value, n, before, change (relative for counts
        and money, a difference for shares and scores), recent (up to 8 values, oldest first),
        reason. ``stages``: stage, users, share, before, change, reason.
    """
    with shared():
        return _overview(source, grain, lang, asked)


def _overview(source: Source, grain: Grain, lang: str | None, asked: Mapping[str, Any]) -> Overview:
    said = words(lang or source.scenario.locale.language)
    made: dict[tuple[Any, ...], Table] = {}
    notes: dict[str, None] = {}

    def table(name: str, options: tuple[tuple[str, Any], ...] = ()) -> Table:
        if (name, options) not in made:
            found = table_of(source, name, grain=grain, lang=said.lang, **asked, **dict(options))
            made[name, options] = found
        return made[name, options]

    rows = [_row(key, table, said) for key in KEYS]
    for name in ("growth_accounting", "traffic"):
        notes |= dict.fromkeys(table(name).notes)
    facts = table("traffic").facts
    metrics = _table("overview", said, rows, METRIC_SCHEMA, facts)
    placed = _stages(source, table("stage_counts"), table("stages"), said)
    stages = _table("stages_now", said, placed, STAGE_SCHEMA, facts)
    return Overview(stages, metrics, tuple(notes))


METRIC_SCHEMA: dict[str, Any] = {
    "stage": pl.String,
    "metric": pl.String,
    "unit": pl.String,
    "period": pl.Date,
    "value": pl.Float64,
    "n": pl.Int64,
    "before": pl.Float64,
    "change": pl.Float64,
    "recent": pl.List(pl.Float64),
    "reason": pl.String,
}
STAGE_SCHEMA: dict[str, Any] = {
    "stage": pl.String,
    "users": pl.Int64,
    "share": pl.Float64,
    "before": pl.Int64,
    "change": pl.Float64,
    "reason": pl.String,
}


def _row(key: Key, table: Callable[..., Table], said: Words) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(METRIC_SCHEMA)
    row |= {"stage": key.stage, "metric": key.name, "unit": key.unit, "recent": []}
    try:
        found = table(key.table, key.options)
    except InputError as error:  # money of two currencies: the other metrics still stand
        return {**row, "reason": error.what}
    if found.reason is not None:
        return {**row, "reason": found.reason}
    cells = found.rows
    if key.offset is not None:
        cells = cells.filter(pl.col("offset") == key.offset).rename({"cohort": "period"})
    known = cells.filter(~pl.col(key.partial), pl.col(key.column).is_not_null()).sort("period")
    if known.is_empty():
        return {**row, "reason": _why_null(cells, key) or said.reason("no complete period yet")}
    recent = known.tail(RECENT)
    values = [abs(v) if key.name == "dormant" else v for v in recent[key.column].to_list()]
    last = recent.row(-1, named=True)
    before = float(values[-2]) if len(values) > 1 else None
    return {
        **row,
        "period": last["period"],
        "value": float(values[-1]),
        "n": None if key.n is None else last[key.n],
        "before": before,
        "change": _change(float(values[-1]), before, key.unit),
        "recent": [float(v) for v in values],
    }


def _why_null(cells: pl.DataFrame, key: Key) -> str | None:
    # The reason of the newest complete period, where the table gives one for this column.
    complete = cells.filter(~pl.col(key.partial))
    names = [n for n in (f"{key.column}_reason", "reason") if n in cells.columns]
    if key.column == "repeat_rate":
        names = ["repeat_reason"]
    return str(complete[names[0]][-1]) if names and complete.height else None


def _change(value: float, before: float | None, unit: str) -> float | None:
    if before is None:
        return None
    if unit == "share":
        return value - before
    return value / before - 1 if before else None


def _stages(source: Source, counts: Table, now: Table, said: Words) -> list[dict[str, Any]]:
    unseen = source.unseen()
    if counts.reason is not None:
        return [{"stage": stage, "users": 0, "reason": counts.reason} for stage in SHOWN]
    placed = dict(now.rows.group_by("stage").len().iter_rows())
    earlier = counts.rows.filter(~pl.col("partial")).tail(1)
    total = now.rows.height
    rows = []
    for stage in SHOWN:
        users = int(placed.get(stage, 0))
        before = int(earlier[stage][0]) if earlier.height else None
        why = unseen.get(stage)
        rows.append(
            {
                "stage": stage,
                "users": users,
                "share": users / total if total else None,
                "before": before,
                "change": _change(users, before, "integer"),
                "reason": None if why is None or users else said.reason(why),
            }
        )
    return rows


def _table(
    name: str,
    said: Words,
    rows: list[dict[str, Any]],
    schema: dict[str, Any],
    facts: Mapping[str, Any],
) -> Table:
    # Values of a metric are read by the row's unit.
    frame = pl.DataFrame(rows, schema=schema)
    columns = tuple(
        Column(n, "number" if n == "value" else kind_of(n, str(kind), said), said.column(n))
        for n, kind in frame.schema.items()
    )
    return Table(name=name, title=said.title(name), columns=columns, rows=frame, facts=facts)
