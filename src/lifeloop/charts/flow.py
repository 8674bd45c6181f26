"""Moves between stages as ribbons from left (before) to right (after)."""

from typing import Any

import altair as alt
import numpy as np
import polars as pl

from lifeloop.charts.look import HEIGHT, INK, STAGE_COLOURS, data, dressed, together
from lifeloop.charts.words import Words
from lifeloop.contracts import Table

FIRST = "first_seen"
"""The node on the left of users who had no stage before."""

WIDTH, NODE, GAP, STEPS = 560, 0.03, 0.02, 24


def flow(table: Table, said: Words) -> dict[str, Any]:
    """Return who moved from which stage to which, over the whole window.

    The height of a node is the number of moves out of it (left) or into it (right).
    """
    rows = table.rows.with_columns(pl.col("from").fill_null(FIRST))
    moves = rows.group_by("from", "to").agg(n=pl.col("n").sum())
    order = [FIRST, *STAGE_COLOURS]
    rank = {name: k for k, name in enumerate(order)}
    moves = moves.sort(
        pl.col("from").replace_strict(rank, return_dtype=pl.Int64),
        pl.col("to").replace_strict(rank, return_dtype=pl.Int64),
    )
    total = max(int(moves["n"].sum()), 1)
    left = _nodes(moves, "from", order, total)
    right = _nodes(moves, "to", order, total)
    ribbons = _ribbons(moves, left, right, total)
    colour = alt.Color(
        "stage:N",
        scale=alt.Scale(
            domain=order, range=["#c5ccd6", *[STAGE_COLOURS[s] for s in STAGE_COLOURS]]
        ),
        legend=None,
    )
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[0, 1], reverse=True))
    bands = (
        alt.Chart(data(ribbons))
        .mark_area(opacity=0.45)
        .encode(x=x, y=y, y2="y2:Q", detail="move:N", color=colour)
    )
    boxes = pl.concat(
        [
            _boxes(left, 0.0, NODE, said, total),
            _boxes(right, 1.0 - NODE, 1.0, said, total),
        ]
    )
    nodes = alt.Chart(data(boxes)).mark_rect().encode(x=x, x2="x2:Q", y=y, y2="y2:Q", color=colour)
    sides = boxes.with_columns(
        at=pl.when(pl.col("x") == 0).then(pl.col("x")).otherwise(pl.col("x2"))
    )
    named = {"y": alt.Y("middle:Q"), "text": "label:N", "x": alt.X("at:Q", axis=None)}
    before = alt.Chart(data(sides.filter(pl.col("x") == 0)))
    after = alt.Chart(data(sides.filter(pl.col("x") > 0)))
    words = [
        before.mark_text(align="right", dx=-8, color=INK, fontSize=12).encode(**named),
        after.mark_text(align="left", dx=8, color=INK, fontSize=12).encode(**named),
    ]
    chart = alt.layer(bands, nodes, *words).properties(width=WIDTH, height=int(HEIGHT * 1.4))
    more = [said.note("moves", n=f"{total:,}"), *together(table, said)]
    return dressed(chart, table, said, more=more, striped=False)


def _nodes(
    moves: pl.DataFrame, side: str, order: list[str], total: int
) -> dict[str, tuple[float, float]]:
    sizes = dict(moves.group_by(side).agg(pl.col("n").sum()).iter_rows())
    present = [name for name in order if name in sizes]
    room = 1.0 - GAP * (len(present) - 1)
    at, found = 0.0, {}
    for name in present:
        tall = room * sizes[name] / total
        found[name] = (at, at + tall)
        at += tall + GAP
    return found


def _ribbons(
    moves: pl.DataFrame,
    left: dict[str, tuple[float, float]],
    right: dict[str, tuple[float, float]],
    total: int,
) -> pl.DataFrame:
    at_left = {name: top for name, (top, _) in left.items()}
    at_right = {name: top for name, (top, _) in right.items()}
    room_left, room_right = 1.0 - GAP * (len(left) - 1), 1.0 - GAP * (len(right) - 1)
    t = np.linspace(0.0, 1.0, STEPS)
    ease = t * t * (3 - 2 * t)  # [STEPS] level at both ends
    made = []
    for before, after, n in moves.iter_rows():
        a, b = at_left[before], at_right[after]
        tall_a, tall_b = room_left * n / total, room_right * n / total
        at_left[before] += tall_a
        at_right[after] += tall_b
        made.append(
            pl.DataFrame(
                {
                    "move": [f"{before}→{after}"] * STEPS,
                    "stage": [after] * STEPS,
                    "x": NODE + t * (1 - 2 * NODE),
                    "y": a + ease * (b - a),
                    "y2": (a + tall_a) + ease * (b + tall_b - a - tall_a),
                }
            )
        )
    return pl.concat(made)


def _boxes(
    nodes: dict[str, tuple[float, float]], x: float, x2: float, said: Words, total: int
) -> pl.DataFrame:
    room = 1.0 - GAP * (len(nodes) - 1)
    return pl.DataFrame(
        [
            {
                "stage": name,
                "x": x,
                "x2": x2,
                "y": top,
                "y2": bottom,
                "middle": (top + bottom) / 2,
                "label": f"{said.value(name)}  {round((bottom - top) / room * total):,}",
            }
            for name, (top, bottom) in nodes.items()
        ]
    )
