"""Pictures that are not over time: a curve by offset, a histogram, a count per stage, a grid."""

from typing import Any

import altair as alt
import polars as pl

from lifeloop.charts.look import (
    COUNTS,
    HEIGHT,
    WIDTH,
    colours,
    data,
    dressed,
    segment_of,
    together,
    written_on,
)
from lifeloop.charts.trend import largest
from lifeloop.charts.words import Words
from lifeloop.contracts import Table


def curve(table: Table, said: Words) -> dict[str, Any]:
    """Return the mean retention curve with its interval."""
    rows = table.rows.filter(pl.col("rate").is_not_null())
    by = segment_of(table)
    more: list[str] = []
    if by is None:
        rows = rows.with_columns(series=pl.lit(table.title))
    else:
        rows, more = largest(rows, by, table, said)
        rows = rows.with_columns(series=pl.col(by))
    names = sorted(rows["series"].unique().to_list())
    colour = alt.Color(
        "series:N",
        scale=alt.Scale(domain=names, range=colours(names)),
        legend=None if by is None else alt.Legend(title=None),
    )
    x, rows = _offsets(rows, said)
    axis = alt.Axis(format="%", title=None)
    kept = ["offset", "rate", "rate_low", "rate_high", "series"]
    base = alt.Chart(data(rows.select(kept)))
    band = base.mark_area(opacity=0.18).encode(
        x=x, y=alt.Y("rate_low:Q", axis=axis), y2="rate_high:Q", color=colour
    )
    line = base.mark_line(strokeWidth=2, point=rows.height <= 80).encode(
        x=x, y=alt.Y("rate:Q", axis=axis, scale=alt.Scale(domainMin=0)), color=colour
    )
    chart = alt.layer(band, line).properties(width=WIDTH, height=HEIGHT)
    return dressed(chart, table, said, more=more)


def _offsets(rows: pl.DataFrame, said: Words) -> tuple[alt.X, pl.DataFrame]:
    # Brackets are no points of a scale: each has its name, in order.
    title = said.column("offset")
    if "offset_to" not in rows.columns:
        axis = alt.Axis(title=title, tickMinStep=1, grid=False)
        return alt.X("offset:Q", axis=axis), rows
    rows = rows.sort("offset", "offset_to", maintain_order=True).with_columns(
        offset=pl.format("{}–{}", "offset", "offset_to")
    )
    order = rows["offset"].unique(maintain_order=True).to_list()
    return alt.X("offset:O", sort=order, axis=alt.Axis(title=title, labelAngle=0)), rows


def histogram(table: Table, said: Words) -> dict[str, Any]:
    """Return on how many days users were active, as bars of users."""
    by = segment_of(table)
    more: list[str] = []
    if by is None:
        rows = table.rows.select("active_days", "n", series=pl.lit(table.title))
    else:
        rows, more = largest(table.rows, by, table, said)
        rows = rows.select("active_days", "n", series=pl.col(by))
    names = sorted(rows["series"].unique().to_list())
    chart = (
        alt.Chart(data(rows))
        .mark_bar()
        .encode(
            x=alt.X("active_days:O", axis=alt.Axis(title=said.column("active_days"), labelAngle=0)),
            y=alt.Y("n:Q", axis=alt.Axis(title=said.column("users"), format=COUNTS)),
            color=alt.Color(
                "series:N",
                scale=alt.Scale(domain=names, range=colours(names)),
                legend=None if by is None else alt.Legend(title=None),
            ),
        )
        .properties(width=WIDTH, height=HEIGHT)
    )
    return dressed(chart, table, said, more=more)


def by_stage(table: Table, said: Words, *, order: tuple[str, ...]) -> dict[str, Any]:
    """Return users per stage today, with their number."""
    counts = table.rows.group_by("stage").agg(n=pl.len())
    all_stages = pl.DataFrame({"stage": order}).join(counts, on="stage", how="left").fill_null(0)
    rows = all_stages.with_columns(label=pl.Series([said.value(s) for s in order]))
    labels = rows["label"].to_list()
    y = alt.Y("label:N", sort=labels, axis=alt.Axis(title=None, labelFontSize=12))
    bars = (
        alt.Chart(data(rows))
        .mark_bar()
        .encode(
            x=alt.X("n:Q", axis=alt.Axis(title=said.column("users"), format=COUNTS)),
            y=y,
            color=alt.Color(
                "label:N",
                scale=alt.Scale(domain=labels, range=colours(order)),
                legend=None,
            ),
        )
    )
    numbers = (
        alt.Chart(data(rows))
        .mark_text(align="left", dx=5)
        .encode(x="n:Q", y=y, text=alt.Text("n:Q", format=","))
    )
    chart = alt.layer(bars, numbers).properties(width=WIDTH, height={"step": 34})
    return dressed(chart, table, said, more=together(table, said))


def grid(table: Table, said: Words) -> dict[str, Any]:
    """Return how many buyers have each score of recency and frequency."""
    cells = table.rows.group_by("r", "f").agg(n=pl.len(), monetary=pl.col("monetary").mean())
    x = alt.X("r:O", axis=alt.Axis(title=said.column("r"), labelAngle=0))
    y = alt.Y("f:O", sort="descending", axis=alt.Axis(title=said.column("f")))
    top = int(str(cells["n"].max())) if cells.height else 1
    cells = cells.with_columns(deep=pl.col("n") > 0.55 * top)
    base = alt.Chart(data(cells))
    boxes = base.mark_rect(stroke="white").encode(
        x=x,
        y=y,
        color=alt.Color("n:Q", scale=alt.Scale(scheme="blues"), legend=alt.Legend(title=None)),
    )
    numbers = base.mark_text().encode(x=x, y=y, text="n:Q", color=written_on("deep"))
    chart = alt.layer(boxes, numbers).properties(width=HEIGHT + 60, height=HEIGHT)
    return dressed(chart, table, said, more=together(table, said))
