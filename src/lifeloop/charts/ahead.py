"""Pictures of what is to come: survival, forecast fans, values with intervals, calibration."""

from typing import Any, Literal

import altair as alt
import polars as pl

from lifeloop.charts.look import (
    COUNTS,
    FAINT,
    HEIGHT,
    SERIES,
    WIDTH,
    colours,
    data,
    dressed,
)
from lifeloop.charts.trend import largest
from lifeloop.charts.words import Words
from lifeloop.contracts import Table

Shape = Literal["linear", "step-after"]

TOP = 12
"""Rows of a ranking that are drawn."""

NAMED = 6
"""Rows without a number that are named below the title; of more, how many there are."""

LONGEST = 24
"""Characters of such a name: an id may have hundreds."""


def steps(
    table: Table, said: Words, *, across: str, value: str, share: bool, shape: Shape
) -> dict[str, Any]:
    """Return a curve by age with its interval, one colour per segment.

    Parameters
    ----------
    table : Table
        With ``across``, ``value`` and its ``_low`` and ``_high``.
    said : Words
        The catalogue.
    across, value : str
        Columns of the axes.
    share : bool
        The values are shares; a survival curve then starts at 1.
    shape : "step-after" | "linear"
        How points are joined.
    """
    rows, names, more = _series(table, said)
    rows = rows.filter(pl.col(value).is_not_null())
    if shape == "step-after":
        first = rows.group_by("series").agg(pl.lit(0, dtype=pl.Int64).alias(across))
        one = [pl.lit(1.0).alias(name) for name in (value, f"{value}_low", f"{value}_high")]
        columns = ["series", across, value, f"{value}_low", f"{value}_high"]
        rows = pl.concat([first.with_columns(one).select(columns), rows.select(columns)])
        rows = rows.sort("series", across)
    kept = ["series", across, value, f"{value}_low", f"{value}_high"]
    base = alt.Chart(data(rows.select(kept)))
    x = alt.X(f"{across}:Q", axis=alt.Axis(title=said.column(across), grid=False, tickMinStep=1))
    axis = alt.Axis(format="%" if share else COUNTS, title=None, tickCount=5)
    colour = _colour(names)
    band = base.mark_area(opacity=0.18, interpolate=shape).encode(
        x=x, y=alt.Y(f"{value}_low:Q", axis=axis), y2=f"{value}_high:Q", color=colour
    )
    scale = alt.Scale(domainMin=0)
    line = base.mark_line(strokeWidth=2, interpolate=shape).encode(
        x=x, y=alt.Y(f"{value}:Q", axis=axis, scale=scale), color=colour
    )
    chart = alt.layer(band, line).properties(width=WIDTH, height=HEIGHT)
    return dressed(chart, table, said, more=[said.column(value), *more])


def fan(table: Table, said: Words) -> dict[str, Any]:
    """Return users per state: the past as a line, the days to come as a fan; one plot a state."""
    rows, _, more = _series(table, said)
    if _split(table):  # states of several segments: everybody together, and said so
        rows = rows.group_by("date", "state", "forecast").agg(
            pl.col("users", "users_low", "users_high").sum()
        )
        more = [said.note("summed")]
    rows = rows.sort("date")
    order = rows["state"].unique(maintain_order=True).to_list()
    height = HEIGHT // 4
    plots = []
    for name, colour in zip(order, colours(order), strict=True):
        part = rows.filter(pl.col("state") == name)
        if not part["users"].max():
            continue
        base = alt.Chart(data(part.drop("state")))
        x = alt.X("date:T", axis=alt.Axis(title=None, grid=False, labelOverlap="greedy"))
        axis = alt.Axis(title=None, format=COUNTS, tickCount=3)
        y = alt.Y("users:Q", axis=axis, scale=alt.Scale(zero=False))
        ahead = "datum.forecast"
        band = (
            base.transform_filter(ahead)
            .mark_area(opacity=0.25, color=colour)
            .encode(x=x, y=alt.Y("users_low:Q", axis=axis), y2="users_high:Q")
        )
        past = base.transform_filter(f"!{ahead}").mark_line(color=colour, strokeWidth=2)
        coming = base.transform_filter(ahead).mark_line(
            color=colour, strokeWidth=2, strokeDash=[5, 3]
        )
        title = alt.TitleParams(said.value(name), anchor="start", fontSize=12)
        layers = alt.layer(band, past.encode(x=x, y=y), coming.encode(x=x, y=y))
        plots.append(layers.properties(width=WIDTH, height=height, title=title))
    chart = alt.vconcat(*plots, spacing=6)
    return dressed(chart, table, said, more=[said.note("dashed"), *more])


def ranked(
    table: Table,
    said: Words,
    *,
    name: tuple[str, ...],
    value: str,
    interval: bool = True,
    share: bool = False,
) -> dict[str, Any]:
    """Return bars of a value with its interval, in the order of the table, at most ``TOP``.

    Parameters
    ----------
    table : Table
        The rows.
    said : Words
        The catalogue.
    name : tuple of str
        Columns that name a row, joined by an arrow.
    value : str
        Column of the bar, with ``_low`` and ``_high`` where ``interval``.
    interval : bool
        Draw the interval.
    share : bool
        The values are shares.
    """
    rows, segments, more = _series(table, said)
    bare = rows.filter(pl.col(value).is_null())
    if bare.height and name:
        more = [_numberless(bare[name[0]].unique(maintain_order=True).to_list(), said), *more]
    rows = rows.filter(pl.col(value).is_not_null())
    split = bool(_split(table))
    apart = split and name and rows.select(name).n_unique() <= TOP  # a colour per segment
    if rows.height > TOP and not apart:
        more = [said.note("top", n=TOP, of=rows.height), *more]
        rows = rows.head(TOP)
    parts = [[said.value(str(v)) for v in rows[column].to_list()] for column in name]
    labels = [" → ".join(told) for told in zip(*parts, strict=True)]
    labels = labels if name else [""] * rows.height
    if split and not apart:
        series = rows["series"].to_list()
        labels = [f"{s} · {t}" if t else s for s, t in zip(series, labels, strict=True)]
    labels = [text or table.title for text in labels]
    if len(set(labels)) < len(labels) and not apart:
        labels = [f"{n + 1}. {text}" for n, text in enumerate(labels)]
    low, high = f"{value}_low", f"{value}_high"
    kept = rows.select("series", value, *([low, high] if interval else [])).with_columns(
        label=pl.Series(labels, dtype=pl.String)
    )
    base = alt.Chart(data(kept))
    axis = alt.Axis(title=said.column(value), format="%" if share else COUNTS)
    order = list(dict.fromkeys(labels))
    side = alt.Axis(title=None, labelFontSize=12, labelLimit=320)
    place: dict[str, Any] = {"y": alt.Y("label:N", sort=order, axis=side)}
    colour: dict[str, Any] = {}
    if apart:
        place["yOffset"] = alt.YOffset("series:N", sort=segments)
        colour = {"color": _colour(segments)}
    drawn = base.mark_bar(opacity=0.85) if apart else base.mark_bar(opacity=0.85, color=SERIES[0])
    layers = [drawn.encode(x=alt.X(f"{value}:Q", axis=axis), **place, **colour)]
    if interval:
        rule = base.mark_rule(strokeWidth=2)
        layers.append(rule.encode(x=alt.X(f"{low}:Q"), x2=f"{high}:Q", **place))
    step = 30 if len(order) > 2 else 60
    chart = alt.layer(*layers).properties(
        width=WIDTH - 120,
        height={"step": max(14 * len(segments), 30) if apart else step, "for": "position"},
    )
    return dressed(chart, table, said, more=more)


def ratios(table: Table, said: Words) -> dict[str, Any]:
    """Return hazard ratios with their intervals around 1, on a logarithmic axis."""
    rows = table.rows.filter(pl.col("hazard_ratio").is_not_null())
    rows = rows.select("covariate", "hazard_ratio", "hazard_ratio_low", "hazard_ratio_high")
    labels = [said.value(name) for name in rows["covariate"].to_list()]
    rows = rows.with_columns(label=pl.Series(labels), one=pl.lit(1.0))
    base = alt.Chart(data(rows))
    y = alt.Y("label:N", sort=labels, axis=alt.Axis(title=None, labelLimit=320))
    axis = alt.Axis(title=said.column("hazard_ratio"), tickCount=6)
    scale = alt.Scale(type="log")
    rule = base.mark_rule(strokeWidth=2, color=SERIES[0]).encode(
        x=alt.X("hazard_ratio_low:Q", axis=axis, scale=scale), x2="hazard_ratio_high:Q", y=y
    )
    point = base.mark_point(filled=True, size=70, color=SERIES[0], opacity=1).encode(
        x=alt.X("hazard_ratio:Q", axis=axis, scale=scale), y=y
    )
    even = base.mark_rule(color=FAINT, strokeDash=[4, 3]).encode(
        x=alt.X("one:Q", axis=axis, scale=scale)
    )
    chart = alt.layer(even, rule, point).properties(width=WIDTH - 160, height={"step": 40})
    return dressed(chart, table, said)


def calibration(
    table: Table, said: Words, *, stated: str, observed: str, share: bool, interval: bool
) -> dict[str, Any]:
    """Return what was stated across, what came true upwards; on the diagonal both agree."""
    columns = [stated, observed, *([f"{observed}_low", f"{observed}_high"] if interval else [])]
    rows = table.rows.select(columns)
    top = float(max(rows[stated].max() or 0, rows[columns[-1]].max() or 0))  # type: ignore[arg-type]
    line = pl.DataFrame({"a": [0.0, top], "b": [0.0, top]})
    text = "%" if share else COUNTS
    x = alt.X(f"{stated}:Q", axis=alt.Axis(title=said.column(stated), format=text))
    axis = alt.Axis(title=said.column(observed), format=text)
    base = alt.Chart(data(rows))
    layers = [
        alt.Chart(data(line)).mark_line(color=FAINT, strokeDash=[4, 3]).encode(x="a:Q", y="b:Q")
    ]
    if interval:
        low = alt.Y(f"{observed}_low:Q", axis=axis)
        layers.append(
            base.mark_rule(color=SERIES[0], strokeWidth=2).encode(
                x=x, y=low, y2=f"{observed}_high:Q"
            )
        )
    points = base.mark_line(point=alt.OverlayMarkDef(size=50, filled=True), color=SERIES[0])
    layers.append(points.encode(x=x, y=alt.Y(f"{observed}:Q", axis=axis)))
    chart = alt.layer(*layers).properties(width=HEIGHT + 120, height=HEIGHT + 60)
    return dressed(chart, table, said)


def _split(table: Table) -> list[str]:
    # By what the rows are split: some tables are about everybody whatever is asked.
    return [name for name in table.facts["by"] if name in table.rows.columns]


def _series(table: Table, said: Words) -> tuple[pl.DataFrame, list[str], list[str]]:
    split = _split(table)
    if not split:
        return table.rows.with_columns(series=pl.lit(table.title)), [table.title], []
    rows, more = largest(table.rows, split[0], table, said)
    rows = rows.with_columns(series=pl.concat_str(split, separator=" · ", ignore_nulls=True))
    return rows, sorted(rows["series"].unique().to_list()), more


def _colour(names: list[str]) -> alt.Color:
    return alt.Color(
        "series:N",
        scale=alt.Scale(domain=names, range=colours(names)),
        legend=None if len(names) == 1 else alt.Legend(title=None, symbolOpacity=1),
    )


def _numberless(rows: list[Any], said: Words) -> str:
    told = [said.value(row) for row in rows[:NAMED]]
    names = ", ".join(name if len(name) <= LONGEST else f"{name[:LONGEST]}…" for name in told)
    if len(rows) <= NAMED:
        return said.note("numberless", names=names)
    return said.note("numberless_many", names=names, n=len(rows) - NAMED)
