"""How a lifecycle table is written out: for eyes, as JSON, as CSV, as a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.measure import Measurement
from rich.table import Table as Grid

from lifeloop.cli.session import err, out, print_json

if TYPE_CHECKING:  # so that --help answers at once
    from lifeloop.charts import Words
    from lifeloop.contracts import Column, Table

AsCsv = Annotated[bool, typer.Option("--csv", help="print CSV on stdout, every row and column")]
Png = Annotated[Path | None, typer.Option("--png", help="draw the picture into this file")]
Lang = Annotated[str | None, typer.Option(help="en or zh; default: the scenario's")]
Start = Annotated[str | None, typer.Option(help="first day shown, YYYY-MM-DD")]
End = Annotated[str | None, typer.Option(help="last day shown, YYYY-MM-DD")]
By = Annotated[str | None, typer.Option(help="split by attributes, separated by commas")]
Where = Annotated[
    list[str] | None, typer.Option(help="only events with name=value, repeatable: channel=web")
]
Grain = Annotated[str, typer.Option(help="day, week or month")]
Limit = Annotated[int, typer.Option(min=1, help="rows printed; --csv and --json have all")]
Members = Annotated[bool, typer.Option("--members", help="the users behind every cell instead")]

BRIEF: dict[str, tuple[str, ...]] = {
    "stages": ("user_id", "stage", "since", "rule", "orders", "last_active"),
    "orders": (
        "period", "orders", "buyers", "net", "aov", "frequency", "repeat_rate", "partial",
    ),
    "churn_risk": (
        "user_id", "product_stage", "silent_days", "p_churn", "value", "value_at_risk",
        "first_reason", "second_reason",
    ),
    "predicted_ltv": ("n", "alive", "purchases", "value", "ltv", "model"),
    "ltv_backtest": (
        "model", "predicted", "actual", "total_error", "deviance", "value_predicted",
        "value_actual", "value_error", "chosen",
    ),
    "rfm": ("user_id", "recency_days", "frequency", "monetary", "r", "f", "m"),
    "satisfaction": ("period", "csat", "csat_n", "nps", "nps_n", "partial"),
    "sessions": (
        "period", "sessions", "visitors", "length_mean_s", "length_mean_nonzero_s", "zero_share",
        "partial",
    ),
}  # fmt: skip
"""What is printed of tables too wide for a terminal."""

MOST_OFFSETS = 16
"""Columns of a printed matrix of cohorts."""

WIDEST = 200
"""Characters that a printed table may need."""

SPARKS = "▁▂▃▄▅▆▇█"


def write(
    table: Table, *, as_json: bool, as_csv: bool, picture: Path | None, limit: int, lang: str
) -> None:
    """Write one table the way that was asked for."""
    if picture is not None:
        draw(table, picture, lang=lang)
    if as_json:
        print_json(table.to_json())
    elif as_csv:
        print_csv(table)
    elif picture is None:
        show(table, limit=limit)


def draw(table: Table, path: Path, *, lang: str) -> None:
    """Write the picture of a table to a file, and say so on stderr."""
    from lifeloop.charts import chart, png

    path.write_bytes(png(chart(table, lang=lang)))
    err.print(f"drew {path}", highlight=False)


def print_csv(table: Table) -> None:
    """Write the rows as CSV on stdout; why there are none goes to stderr."""
    if table.reason is not None:
        err.print(f"no rows: {table.reason}", markup=False, highlight=False)
        return
    sys.stdout.write(table.rows.write_csv())


def show(table: Table, *, limit: int) -> None:
    """Print a table for eyes: intervals beside their rate, columns that say nothing left out."""
    if table.reason is not None:
        out.print(f"[bold]{table.title}[/bold]: –", highlight=False)
        out.print(f"· {table.reason}", markup=False, highlight=False)
        return
    shown = table.rows.tail(limit)
    brief = () if table.facts.get("members") else BRIEF.get(table.name, ())
    split = table.facts.get("by", ())
    told = [c for c in table.columns if not _beside(c, table) and not _says_nothing(c, shown)]
    columns = [c for c in told if not brief or c.name in brief or c.name in split]
    grid = Grid(box=SIMPLE_HEAD, header_style="bold", title=None, padding=(0, 1))
    for column in columns:
        left = column.kind in ("text", "date", "boolean")
        wide = 44 if column.kind == "text" else None
        grid.add_column(column.label, justify="left" if left else "right", max_width=wide)
    out.print(f"[bold]{table.title}[/bold]", highlight=False)
    for row in shown.iter_rows(named=True):
        grid.add_row(*[_escaped(_cell(column, row)) for column in columns])
    print_whole(grid)
    if len(columns) < len(told):
        more = f"{len(told) - len(columns)} more columns: --csv, --json"
        out.print(f"· {more}", markup=False, highlight=False)
    if table.rows.height > limit:
        more = f"the last {limit} of {table.rows.height:,} rows; --limit N, --csv, --json: more"
        out.print(f"· {more}", markup=False, highlight=False)
    for note in table.notes:
        out.print(f"· {note}", markup=False, highlight=False)


def plain_grid(
    said: Words, first: tuple[str, ...], numbers: tuple[str, ...], last: tuple[str, ...]
) -> Grid:
    """Return an empty grid with headings, numbers to the right."""
    grid = Grid(box=SIMPLE_HEAD, header_style="bold", padding=(0, 1))
    for name in (*first, *numbers, *last):
        side: Literal["left", "right"] = "right" if name in numbers else "left"
        grid.add_column(said.column(name), justify=side, max_width=40)
    return grid


def show_matrix(table: Table, *, lang: str, limit: int) -> None:
    """Print cohorts downwards and offsets to the right; a star marks incomplete cells."""
    import polars as pl

    from lifeloop.charts import words

    said = words(lang)
    rows = table.rows.filter(pl.col("n") > 0)
    cohorts = rows["cohort"].unique().sort().tail(limit).to_list()
    offsets = rows["offset"].unique().sort().head(MOST_OFFSETS).to_list()
    cells = {(r["cohort"], r["offset"]): r for r in rows.iter_rows(named=True)}
    grid = plain_grid(said, ("cohort",), ("n", *map(str, offsets)), ())
    for cohort in cohorts:
        found = [cells.get((cohort, offset)) for offset in offsets]
        size = next(cell["n"] for cell in found if cell is not None)
        shown = [
            "" if cell is None else f"{100 * cell['rate']:.0f}%{'*' if cell['partial'] else ' '}"
            for cell in found
        ]
        grid.add_row(str(cohort), f"{size:,}", *shown)
    out.print(f"[bold]{table.title}[/bold]", highlight=False)
    print_whole(grid)
    for note in (f"* {said.column('partial')}", *table.notes):
        out.print(f"· {note}", markup=False, highlight=False)


def print_whole(grid: Grid) -> None:
    """Print a grid without cutting a number, past the edge of a narrow terminal if need be."""
    needed = Measurement.get(out, out.options.update(max_width=WIDEST), grid).maximum
    before = out.width
    out.width = max(before, min(needed, WIDEST))
    out.print(grid, crop=False)
    out.width = before


def number(value: float | int | None, unit: str) -> str:
    """Return a number as people read it: 12.3%, 1,234, 56.70."""
    if value is None:
        return "–"
    if unit == "share":
        return f"{100 * value:.1f}%"
    if unit == "integer":
        return f"{value:,.0f}"
    return f"{value:,.2f}"


def spark(values: list[float]) -> str:
    """Return values as a line of bars."""
    if not values:
        return ""
    low, high = min(values), max(values)
    if high == low:
        return SPARKS[3] * len(values)
    return "".join(SPARKS[round((v - low) / (high - low) * (len(SPARKS) - 1))] for v in values)


def pairs(texts: list[str] | None, *, option: str) -> dict[str, list[str]]:
    """Return ``["channel=web"]`` as {name: values}; a malformed one ends the command."""
    found: dict[str, list[str]] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise typer.BadParameter(f"{text!r} is not name=value", param_hint=option)
        found.setdefault(name.strip(), []).append(value)
    return found


def _beside(column: Column, table: Table) -> bool:
    stem = column.name.removesuffix("_low").removesuffix("_high")
    return stem != column.name and stem in table.rows.columns


def _says_nothing(column: Column, rows: Any) -> bool:
    if column.name.endswith("reason"):
        return bool(rows[column.name].is_null().all())
    if column.name in ("partial", "small", "censored"):
        return not rows[column.name].any()
    return False


def _cell(column: Column, row: dict[str, Any]) -> str:
    value = row[column.name]
    if value is None:
        return "–"
    if column.kind == "boolean":
        return "yes" if value else ""
    if column.kind in ("share", "money", "integer", "number"):
        text = number(value, column.kind)
        low, high = row.get(f"{column.name}_low"), row.get(f"{column.name}_high")
        if low is not None and high is not None:
            percent = 100 if column.kind == "share" else 1
            text += f" ({percent * low:.1f}–{percent * high:.1f})"
        return text
    return str(value)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
