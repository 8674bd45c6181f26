"""Any table by itself: all its rows, the people behind a cell, its picture, its file."""

import csv
import io
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import polars as pl
from starlette.responses import Response

from lifeloop.contracts import Table
from lifeloop.errors import InputError, UnknownId
from lifeloop.serve.dashboard.cards import NO_MEMBERS, Card, cells_of, drawable
from lifeloop.serve.dashboard.dimensions import choices
from lifeloop.serve.dashboard.filters import own_options
from lifeloop.serve.dashboard.view import Pages, View, theme_of
from lifeloop.tables import TABLES

pages = Pages()

ROWS = 200
"""Rows of one page of a table."""

_DANGER = ("=", "+", "-", "@", "\t", "\r")


@pages.get("/dashboard/tables/{name}")
def explore(view: View) -> Response:
    """Show one table with its options."""
    name, filters = _name(view), view.filters()
    spec = TABLES[name]
    options = own_options(view.request.query_params, tuple(o.name for o in spec.options))
    table = _table(view, name)
    query = filters.query(**options)
    sort = view.asked("sort")
    rows = _sorted(table, sort)
    shown = Card(
        name=name,
        title=table.title,
        help=view.said.help(name),
        query=query,
        table=table,
        picture=drawable(table),
        columns=table.columns,
        members=None if name in NO_MEMBERS else f"/dashboard/members/{name}?{query}",
        cells=cells_of(table),
    )
    page = view.number("page", 0, most=100_000)
    return view.show(
        "table.html",
        f=filters,
        choices=choices(view, filters),
        c=shown,
        options=spec.options,
        chosen=options,
        rows=list(rows.slice(page * ROWS, ROWS).iter_rows(named=True)),
        total=table.rows.height,
        pager=_pager(view, page, table.rows.height),
        sort=sort,
    )


@pages.get("/dashboard/members/{name}")
def members(view: View) -> Response:
    """List the people behind a table, or behind some of its cells."""
    name, filters = _name(view), view.filters()
    table = _members(view, name)
    page = view.number("page", 0, most=100_000)
    rows = table.rows.slice(page * ROWS, ROWS)
    people = table.rows["user_id"].n_unique() if "user_id" in table.rows.columns else 0
    return view.show(
        "members.html",
        f=filters,
        name=name,
        title_of=view.said.title(name),
        cells=[_cell(view, pair) for pair in view.request.query_params.getlist("cell")],
        columns=table.columns,
        rows=list(rows.iter_rows(named=True)),
        reason=table.reason,
        total=table.rows.height,
        people=people,
        pager=_pager(view, page, table.rows.height),
        query=urlencode(
            [(k, v) for k, v in view.request.query_params.multi_items() if k != "page"]
        ),
    )


@pages.file("/dashboard/csv/{name}")
def as_csv(view: View) -> Response:
    """Return the rows of a table, or with ``members=1`` the people behind it, as a file."""
    name = _name(view)
    wanted = view.asked("members") == "1"
    table = _members(view, name) if wanted else _table(view, name)
    return file(table, f"{name}-members.csv" if wanted else f"{name}.csv")


@pages.file("/dashboard/png/{name}")
def as_png(view: View) -> Response:
    """Return the picture of a table as a file, drawn on the server."""
    from lifeloop.charts import chart, png

    name = _name(view)
    image = png(chart(_table(view, name), lang=view.lang))
    return Response(image, media_type="image/png", headers=_named(f"{name}.png"))


@pages.file("/dashboard/spec/{name}")
def as_spec(view: View) -> Response:
    """Return the picture of a table as the browser draws it."""
    from lifeloop.charts import chart
    from lifeloop.charts.page import for_page

    theme: Any = view.asked("theme", theme_of(view.request))
    made = for_page(
        chart(_table(view, _name(view)), lang=view.lang),
        theme="dark" if theme == "dark" else "light",
    )
    return Response(msgspec.json.encode(made), media_type="application/json")


def file(table: Table, name: str) -> Response:
    """Return the rows of a table as CSV for a spreadsheet: UTF-8 with its mark, no formulas."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([column.name for column in table.columns])
    for row in table.rows.iter_rows():
        writer.writerow([_plain(value) for value in row])
    body = out.getvalue().encode("utf-8-sig")
    return Response(body, media_type="text/csv; charset=utf-8", headers=_named(name))


def cells(rows: pl.DataFrame, wanted: list[str]) -> pl.DataFrame:
    """Return the rows of some cells (``column:value``); columns that are not there are no limit."""
    for pair in wanted:
        name, colon, value = pair.partition(":")
        if not colon:
            raise InputError("a cell is no pair", got=pair, allowed="column:value")
        if name in rows.columns:
            rows = rows.filter(pl.col(name).cast(pl.String) == value)
    return rows


def _name(view: View) -> str:
    name = view.part("name")
    if name not in TABLES:
        raise UnknownId("there is no such table", got=name, allowed=", ".join(TABLES))
    return name


def _table(view: View, name: str, **more: Any) -> Table:
    spec, filters = TABLES[name], view.filters()
    options = own_options(view.request.query_params, tuple(o.name for o in spec.options))
    return view.desk.table(name, **filters.asked(), **options, **more, lang=view.lang)


def _members(view: View, name: str) -> Table:
    found = _table(view, name) if name in NO_MEMBERS else _table(view, name, members=True)
    wanted = view.request.query_params.getlist("cell")
    if not wanted or found.reason is not None:
        return found
    return Table(
        name=found.name,
        title=found.title,
        columns=found.columns,
        rows=cells(found.rows, wanted),
        notes=found.notes,
        facts=found.facts,
    )


def _cell(view: View, pair: str) -> str:
    name, _, value = pair.partition(":")
    return f"{view.said.column(name)}: {view.said.value(value)}"


def _sorted(table: Table, sort: str) -> pl.DataFrame:
    name = sort.removeprefix("-")
    if name not in table.rows.columns:
        return table.rows
    return table.rows.sort(name, descending=sort.startswith("-"), nulls_last=True)


def _pager(view: View, page: int, total: int) -> Mapping[str, Any]:
    kept = [(k, v) for k, v in view.request.query_params.multi_items() if k != "page"]
    path = view.request.url.path

    def address(number: int) -> str:
        return f"{path}?{urlencode([*kept, ('page', str(number))])}"

    return {
        "first": page * ROWS + 1 if total else 0,
        "last": min((page + 1) * ROWS, total),
        "total": total,
        "back": address(page - 1) if page else None,
        "on": address(page + 1) if (page + 1) * ROWS < total else None,
    }


def _plain(value: Any) -> Any:
    # a spreadsheet runs a cell that begins like a formula; an apostrophe keeps it text
    if isinstance(value, str) and value.startswith(_DANGER):
        return f"'{value}"
    return value


def _named(name: str) -> dict[str, str]:
    return {"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
