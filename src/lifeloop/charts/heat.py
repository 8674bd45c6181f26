"""Cohorts by age as a heat map; incomplete cells are striped."""

from typing import Any

import altair as alt
import polars as pl

from lifeloop.charts.look import COUNTS, data, dressed, segment_of, stripes, written_on
from lifeloop.charts.trend import largest
from lifeloop.charts.words import Words
from lifeloop.contracts import Table

MOST_COHORTS, MOST_OFFSETS = 26, 26
"""What fits on a page: the newest cohorts, the first offsets."""

CELL_W, CELL_H = 38, 22


def heat(table: Table, said: Words, *, across: str, value: str, share: bool) -> dict[str, Any]:
    """Return cohorts downwards, offsets to the right, the value as colour and number.

    Parameters
    ----------
    table : Table
        With ``cohort``, ``partial``, ``n``.
    said : Words
        The catalogue.
    across : str
        Column of the offset or age.
    value : str
        What is coloured; null cells stay empty.
    share : bool
        The numbers are percent.
    """
    rows = table.rows
    by = segment_of(table)
    more: list[str] = []
    if by is not None:
        rows, more = largest(rows, by, table, said)
    rows, cut = _cut(rows, across, said)
    more += cut
    form = "%Y-%m" if table.facts["grain"] == "month" else "%Y-%m-%d"
    rows = rows.with_columns(label=_label(rows, across), cohort=pl.col("cohort").dt.strftime(form))
    known = rows.filter(pl.col(value).is_not_null(), pl.col("n") > 0)
    top = _top(known, across, value)
    if by is None:
        chart: Any = _map(known, said, across, value, top, share=share)
    else:
        plots = [
            _map(part, said, across, value, top, share=share).properties(
                title=alt.TitleParams(str(name), anchor="start")
            )
            for (name,), part in sorted(known.group_by(by), key=lambda pair: str(pair[0]))
        ]
        chart = alt.vconcat(*plots)
    return dressed(chart, table, said, more=more)


def _map(
    rows: pl.DataFrame, said: Words, across: str, value: str, top: float, *, share: bool
) -> Any:
    order = rows.select("label", across).unique().sort(across)["label"].to_list()
    cohorts = sorted(rows["cohort"].unique().to_list())
    sizes = dict(rows.select("cohort", pl.format("{}", "n")).iter_rows())
    rows = rows.with_columns(
        cohort=pl.col("cohort").replace({c: f"{c}  ·  {sizes[c]}" for c in cohorts}),
        deep=pl.col(value) > 0.55 * top,
    )
    named = [f"{c}  ·  {sizes[c]}" for c in cohorts]
    x = alt.X(
        "label:O",
        sort=order,
        axis=alt.Axis(orient="top", title=said.column(across), labelAngle=0, domain=False),
    )
    y = alt.Y(
        "cohort:O",
        sort=named,
        axis=alt.Axis(title=f"{said.column('cohort')}  ·  {said.column('n')}", domain=False),
    )
    kept = ["cohort", "label", value, "deep"]
    style = ".0%" if share else (",.0f" if top >= 100 else ",.2f")
    cells = (
        alt.Chart(data(rows.select(kept)))
        .mark_rect(stroke="white", strokeWidth=1)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                f"{value}:Q",
                scale=alt.Scale(domain=[0, top], clamp=True, scheme="blues"),
                legend=alt.Legend(
                    format="%" if share else COUNTS, title=None, gradientLength=160, tickCount=3
                ),
            ),
        )
    )
    open_ended = pl.col("partial")
    if "censored" in rows.columns:
        open_ended = open_ended | pl.col("censored")
    late = rows.filter(open_ended)
    striped = [
        alt.Chart(data(late.filter(which).select(kept)))
        .mark_rect(fill=stripes(CELL_W, CELL_H, every=7, ink=ink))
        .encode(x=x, y=y)
        for which, ink in ((pl.col("deep"), "255,255,255"), (~pl.col("deep"), "60,70,90"))
    ]
    numbers = (
        alt.Chart(data(rows.select(kept)))
        .mark_text(fontSize=10)
        .encode(
            x=x,
            y=y,
            text=alt.Text(f"{value}:Q", format=style),
            color=written_on("deep"),
        )
    )
    size = {"width": {"step": CELL_W}, "height": {"step": CELL_H}}
    return alt.layer(cells, *striped, numbers).properties(**size)


def _top(known: pl.DataFrame, across: str, value: str) -> float:
    # One cohort of one user at 100% must not make all the others pale: 2% of the users may.
    beyond = known.filter(pl.col(across) > 0).sort(value)
    reached = beyond["n"].cum_sum() >= 0.98 * float(beyond["n"].sum())
    found = beyond.filter(reached)[value].min()
    return float(str(found)) if found else 1.0


def _label(rows: pl.DataFrame, across: str) -> pl.Expr:
    if "offset_to" in rows.columns:
        return pl.format("{}–{}", pl.col(across), pl.col("offset_to"))
    return pl.col(across).cast(pl.String)


def _cut(rows: pl.DataFrame, across: str, said: Words) -> tuple[pl.DataFrame, list[str]]:
    known = rows.filter(pl.col("n") > 0)
    cohorts = known["cohort"].unique().sort(descending=True)
    kept = cohorts.head(MOST_COHORTS)
    shown = rows.filter(pl.col("cohort").is_in(kept.implode()), pl.col(across) <= MOST_OFFSETS)
    if len(cohorts) <= MOST_COHORTS and (known[across] <= MOST_OFFSETS).all():
        return shown, []
    return shown, [said.note("cut", n=len(kept), of=len(cohorts), offsets=MOST_OFFSETS)]
