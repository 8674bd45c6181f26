"""The one look of all pictures: colours, sizes, fonts, hatching, titles."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import altair as alt
import polars as pl

from lifeloop.charts.words import Words
from lifeloop.contracts import Table

WIDTH, HEIGHT = 680, 300
"""Size of one plot, pixels."""

FONT = "Noto Sans, Noto Sans CJK SC, Source Han Sans SC, PingFang SC, Microsoft YaHei, sans-serif"

COUNTS = ",~r"
"""How numbers of people and money stand on an axis."""

INK, FAINT = "#24303f", "#8b97a7"

STAGE_COLOURS = {
    "acquisition": "#9fb8d0",
    "activation": "#5f93c4",
    "retention": "#2f9e8f",
    "conversion": "#e0a526",
    "loyalty": "#7a4fa3",
    "at_risk": "#e8743b",
    "churned": "#9a9a9a",
    "resurrected": "#d6568c",
}
STATE_COLOURS = {
    "new": "#2f9e8f",
    "current": "#5f93c4",
    "returning": "#5f93c4",
    "reactivated": "#e0a526",
    "resurrected": "#d6568c",
    "resurrecting": "#d6568c",
    "at_risk_wau": "#f0a27a",
    "at_risk_mau": "#e8743b",
    "dormant": "#9a9a9a",
}
DAY_MS = 86_400_000

MOST_LABELS = 9
"""Dates along an axis; with more periods every second, third, … has one."""

Clock = Callable[[str], alt.X]
"""A column of ``with_ends`` as the horizontal axis."""

SERIES = ("#2f6db3", "#e0a526", "#2f9e8f", "#d6568c", "#7a4fa3", "#8b5a2b")
"""Colours of series without a meaning of their own, in order."""


def colours(names: Sequence[str]) -> list[str]:
    """Return one colour per name: its own where it has one."""
    known = {**STATE_COLOURS, **STAGE_COLOURS}
    if set(names) <= set(known):
        return [known[name] for name in names]
    return [SERIES[k % len(SERIES)] for k in range(len(names))]


def data(rows: pl.DataFrame) -> alt.InlineData:
    """Return rows as the data of a picture; dates as ISO text."""
    dates = [name for name, kind in rows.schema.items() if kind == pl.Date]
    text = rows.with_columns(pl.col(dates).dt.strftime("%Y-%m-%d"))
    return alt.InlineData(values=text.to_dicts())


def with_ends(rows: pl.DataFrame, grain: str) -> pl.DataFrame:
    """Return the rows with ``begin`` and ``until``, the edges of a bar over the period."""
    every = {"day": "1d", "week": "1w", "month": "1mo"}[grain]
    start = pl.col("period").cast(pl.Datetime("ms"))
    until = pl.col("period").dt.offset_by(every).cast(pl.Datetime("ms"))
    gap = (until - start) / 12
    text = "%Y-%m-%dT%H:%M:%SZ"
    return rows.with_columns(
        begin=(start + gap).dt.strftime(text),
        until=(until - gap).dt.strftime(text),
        middle=(start + (until - start) / 2).dt.strftime(text),
        edge=until.dt.strftime(text),
        open=start.dt.strftime(text),
    )


def time_axis(rows: pl.DataFrame, grain: str) -> Clock:
    """Return the horizontal axis of time, for each column of ``with_ends``.

    It runs from the first period's beginning to the last one's end; a label is the first day of
    its period (of a month, the month) and stands in the middle of it.
    """
    text = rows.select(pl.col("open", "edge", "middle").str.to_datetime("%Y-%m-%dT%H:%M:%SZ"))
    ends = text.select(pl.col("open").min(), pl.col("edge").max()).row(0)
    middles = text["middle"].unique().sort()
    kept = middles.gather_every(max(-(-len(middles) // MOST_LABELS), 1))
    half_ms = {"day": DAY_MS // 2, "week": 7 * DAY_MS // 2, "month": 0}[grain]
    form = "%Y-%m" if grain == "month" else "%Y-%m-%d"
    axis = alt.Axis(
        title=None,
        # An expression: of plain numbers Vega-Lite makes datetime(…), which the interpreter that a
        # page needs under its strict policy does not read as a moment: no label would be drawn.
        values=alt.ExprRef(str(kept.dt.epoch("ms").to_list())),
        labelExpr=f"utcFormat(datum.value - {half_ms}, '{form}')",
        labelOverlap="greedy",
        grid=False,
    )
    # An expression as well: Vega-Lite reads numbers as moments on some marks and leaves them
    # numbers on others (rect), and then warns that two layers of one picture disagree.
    domain = alt.ExprRef(str([epoch_ms(end) for end in ends]))
    scale = alt.Scale(type="utc", domain=domain, nice=False)

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:T", scale=scale, axis=axis)

    return x


def epoch_ms(moment: datetime) -> int:
    """Return a moment on the axis, in milliseconds."""
    return (moment - datetime(1970, 1, 1)) // timedelta(milliseconds=1)  # noqa: DTZ001


def hatched(rows: pl.DataFrame, x: Clock, *, height: int = HEIGHT) -> Any:
    """Return stripes over the whole height of every incomplete period.

    ``rows`` come from ``with_ends`` and have ``partial``; ``x`` from ``time_axis``.
    """
    spans = rows.filter(pl.col("partial")).select("open", "edge").unique().sort("open")
    n = max(rows["open"].n_unique(), 1)
    return (
        alt.Chart(data(spans))
        .mark_rect(fill=stripes(WIDTH / n, height))
        .encode(x=x("open"), x2="edge:T", y=alt.value(0), y2=alt.value(height))
    )


def asked(table: Table, said: Words) -> list[str]:
    """Return what the title leaves open: the kind of retention, of cohort, of entry, the period."""
    told = []
    options = table.facts.get("options", {})
    for name in ("kind", "cohort", "entry"):
        if name in options:
            told.append(said.note(f"{name}_{options[name]}"))
    if {"period", "cohort", "offset", "age"} & set(table.rows.columns):
        told.append(said.note(f"by_{table.facts['grain']}"))
    return told


def together(table: Table, said: Words) -> list[str]:
    """Return the note of a picture that has no segments though the table is split."""
    return [said.note("summed")] if segment_of(table) is not None else []


def segment_of(table: Table) -> str | None:
    """Return the column that the table is split by (of several: the first), None if whole."""
    split = [name for name in table.facts.get("by", ()) if name in table.rows.columns]
    return split[0] if split else None


def written_on(deep: str) -> Any:
    """Return the colour of a number on a cell: white where the column ``deep`` is true."""
    return alt.condition(f"datum.{deep}", alt.value("white"), alt.value(INK))


def stripes(
    width: float, height: float, *, every: float = 9.0, ink: str = "60,70,90"
) -> dict[str, Any]:
    """Return a fill of slanted stripes for a box of this size, in pixels; grey unless said.

    A gradient with hard stops, because Vega has no pattern fills.
    """
    slant = min(width / height, 1.0)
    whole = (slant + 1) / (slant**2 + 1)  # so that the last stripe ends in the far corner
    n = max(round((height + width) / every), 3)
    stops = []
    for k in range(n):
        for at, shade in ((0.0, 0.0), (0.6, 0.0), (0.6, 0.28), (1.0, 0.28)):
            colour = f"rgba({ink},{shade})"
            stops.append({"offset": (k + at) / n, "color": colour})
    return {
        "gradient": "linear",
        "x1": 0,
        "y1": 0,
        "x2": slant * whole,
        "y2": whole,
        "stops": stops,
    }


def dressed(
    chart: Any, table: Table, said: Words, *, more: Sequence[str] = (), striped: bool = True
) -> dict[str, Any]:
    """Return the finished specification: title, what must be known, fonts.

    ``striped``: what is incomplete is striped in this picture.
    """
    columns = table.rows.columns
    told = [*asked(table, said), *more]
    if "partial" in columns and table.rows["partial"].any():
        if not striped:
            told.append(said.note("unfinished"))
        elif "censored" in columns and table.rows["censored"].any():
            told.append(said.note("hatched_censored"))
        else:
            told.append(said.note("hatched"))
    told.append(said.note("as_of", **table.facts))
    finished = chart.properties(
        title=alt.TitleParams(
            table.title,
            subtitle=" · ".join(told),
            anchor="start",
            fontSize=17,
            subtitleFontSize=12,
            subtitleColor=FAINT,
            color=INK,
            offset=14,
        )
    )
    quiet = {"labelColor": INK, "titleColor": FAINT, "labelFontSize": 11, "titleFontSize": 11}
    return dict(
        finished.configure(font=FONT, padding=16, background="white")
        .configure_view(stroke=None)
        .configure_axis(
            **quiet,
            labelSeparation=6,
            gridColor="#e8ecf1",
            domainColor="#c5ccd6",
            tickColor="#c5ccd6",
        )
        .configure_legend(**quiet, symbolType="square", orient="top", title=None)
        .configure_header(labelColor=INK, titleColor=FAINT, labelFontSize=12)
        .to_dict()
    )
