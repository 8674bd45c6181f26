"""Stacked bars over the periods: growth accounting, states, stages. Negative parts hang down."""

from typing import Any

import altair as alt
import polars as pl

from lifeloop.charts.look import (
    COUNTS,
    HEIGHT,
    WIDTH,
    Clock,
    colours,
    data,
    dressed,
    hatched,
    segment_of,
    time_axis,
    with_ends,
)
from lifeloop.charts.trend import largest
from lifeloop.charts.words import Words
from lifeloop.contracts import Table


def stacked(table: Table, said: Words, *, parts: tuple[str, ...]) -> dict[str, Any]:
    """Return one bar per period, made of the counts of ``parts``.

    Parameters
    ----------
    table : Table
        With ``period`` and ``partial``; negative counts are drawn below the axis.
    said : Words
        The catalogue.
    parts : tuple of str
        Columns, from the axis outwards.
    """
    rows = with_ends(table.rows, table.facts["grain"])
    x = time_axis(rows, table.facts["grain"])
    by = segment_of(table)
    more: list[str] = []
    if by is None:
        chart: Any = _layers(rows, said, parts, HEIGHT, x).properties(width=WIDTH, height=HEIGHT)
    else:
        rows, more = largest(rows, by, table, said)
        plots = [
            _layers(part, said, parts, HEIGHT // 2, x).properties(
                width=WIDTH, height=HEIGHT // 2, title=alt.TitleParams(str(name), anchor="start")
            )
            for (name,), part in sorted(rows.group_by(by), key=lambda pair: str(pair[0]))
        ]
        chart = alt.vconcat(*plots)
    return dressed(chart, table, said, more=more)


def _layers(rows: pl.DataFrame, said: Words, parts: tuple[str, ...], height: int, x: Clock) -> Any:
    boxes = pl.concat(_boxes(rows, parts))
    labels = [said.value(name) for name in parts]
    boxes = boxes.with_columns(
        part=pl.col("part").replace(dict(zip(parts, labels, strict=True)))
    ).filter(pl.col("low") != pl.col("high"))
    bars = (
        alt.Chart(data(boxes))
        .mark_bar()
        .encode(
            x=x("begin"),
            x2="until:T",
            y=alt.Y("low:Q", axis=alt.Axis(title=None, format=COUNTS, tickCount=5)),
            y2="high:Q",
            color=alt.Color(
                "part:N",
                scale=alt.Scale(domain=labels, range=colours(parts)),
                legend=alt.Legend(title=None, columns=8),
            ),
        )
    )
    return alt.layer(bars, hatched(rows, x, height=height))


def _boxes(rows: pl.DataFrame, parts: tuple[str, ...]) -> list[pl.DataFrame]:
    # Stacked here and not by Vega: positive counts upwards, negative ones downwards.
    up = down = pl.lit(0, dtype=pl.Int64)
    made = []
    for name in parts:
        size = pl.col(name)
        above = size >= 0
        start = pl.when(above).then(up).otherwise(down)
        made.append(rows.select("begin", "until", part=pl.lit(name), low=start, high=start + size))
        up, down = up + size.clip(0, None), down + size.clip(None, 0)
    return made
