"""Lines over time: counts, shares with their interval, one colour a measure or segment."""

from dataclasses import replace
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
    hatched,
    segment_of,
    time_axis,
    with_ends,
)
from lifeloop.charts.words import Words
from lifeloop.contracts import Table

MOST_SEGMENTS = 6
"""More lines than this cannot be told apart: the largest are drawn, and the picture says so."""


def trend(
    table: Table, said: Words, *, measures: tuple[str, ...], share: bool, interval: bool = False
) -> dict[str, Any]:
    """Return lines of one or more columns over the periods.

    Parameters
    ----------
    table : Table
        With ``period`` and ``partial``.
    said : Words
        The catalogue.
    measures : tuple of str
        Columns to draw; with segments only the first.
    share : bool
        The axis shows percent.
    interval : bool
        Draw ``_low`` to ``_high`` of the first measure.
    """
    rows = with_ends(table.rows, table.facts["grain"])
    by = segment_of(table)
    more: list[str] = []
    if by is not None:
        rows, more = largest(rows, by, table, said)
        measures = measures[:1]
        names = sorted(rows[by].unique().to_list())
        long = rows.with_columns(series=pl.col(by), value=pl.col(measures[0]).cast(pl.Float64))
    else:
        names = list(measures)
        long = pl.concat(
            [
                rows.with_columns(
                    series=pl.lit(said.column(name)), value=pl.col(name).cast(pl.Float64)
                )
                for name in measures
            ]
        )
    labels = names if by is not None else [said.column(name) for name in names]
    low, high = f"{measures[0]}_low", f"{measures[0]}_high"
    long = unbroken(long)
    kept = ["open", "edge", "middle", "partial", "series", "value", "run"]
    axis = alt.Axis(format="%" if share else COUNTS, title=None, tickCount=5)
    colour = alt.Color(
        "series:N",
        scale=alt.Scale(domain=labels, range=colours(names)),
        legend=None if len(labels) == 1 else alt.Legend(title=None),
    )
    flat = not (long["value"] != 0).any()  # all zero: an axis of its own
    y = alt.Y("value:Q", axis=axis, scale=alt.Scale(domain=[0, 1]) if flat else alt.Undefined)
    x = time_axis(rows, table.facts["grain"])
    layers = [hatched(rows, x)]
    if interval and low in rows.columns:
        band = long.select(*kept, low=low, high=high).drop_nulls("low")
        layers.append(
            alt.Chart(data(band))
            .mark_area(opacity=0.18)
            .encode(
                x=x("middle"),
                y=alt.Y("low:Q", axis=axis),
                y2="high:Q",
                color=colour,
                detail="run:N",
            )
        )
    line = alt.Chart(data(long.select(kept))).mark_line(strokeWidth=2)
    layers.append(line.encode(x=x("middle"), y=y, color=colour, detail="run:N"))
    few = rows["open"].n_unique() <= 60
    dots = long.filter(pl.lit(few) | (pl.len().over("series", "run") == 1))
    if not dots.is_empty():
        points = alt.Chart(data(dots.select(kept))).mark_point(size=26, filled=True, opacity=1)
        layers.append(points.encode(x=x("middle"), y=y, color=colour))
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    if len(measures) == 1:
        more = [said.column(measures[0]), *more]
    return dressed(chart, table, said, more=more)


def unbroken(long: pl.DataFrame) -> pl.DataFrame:
    """Return the known values with ``run``: a line is not drawn across periods without a value."""
    gaps = pl.col("value").is_null().cast(pl.Int64).cum_sum().over("series", order_by="open")
    return long.with_columns(run=gaps).drop_nulls("value")


def returns(table: Table, said: Words) -> dict[str, Any]:
    """Return the rates of coming back the next day, one line per active state."""
    by = segment_of(table)
    keys = [*([by] if by else []), "period"]
    wide = table.rows.pivot("measure", index=keys, values="value", sort_columns=False)
    late = table.rows.group_by(keys).agg(pl.col("partial").any(), pl.col("n").sum())
    rows = wide.join(late, on=keys).sort(keys)
    measures = ("curr", "nurr", "rurr", "surr")
    return trend(replace(table, rows=rows), said, measures=measures, share=True)


def largest(
    rows: pl.DataFrame, by: str, table: Table, said: Words
) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows of the segments with the most users, and the notes on what they are."""
    split = " × ".join(said.column(name) for name in table.facts["by"])
    more = [said.note("split", by=split)]
    numbers = [c for c, k in rows.schema.items() if k == pl.Int64 and c not in ("offset", "age")]
    size = pl.sum_horizontal(pl.col(numbers).abs().sum()) if numbers else pl.len()
    sizes = rows.group_by(by).agg(size=size)
    if sizes.height <= MOST_SEGMENTS:
        return rows, more
    kept = sizes.sort("size", by, descending=[True, False]).head(MOST_SEGMENTS)[by]
    more.append(said.note("largest", n=MOST_SEGMENTS, of=sizes.height))
    return rows.filter(pl.col(by).is_in(kept.implode())), more
