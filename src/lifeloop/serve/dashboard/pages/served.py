"""How recommendations do: quality by stage, what was shown and clicked, variety, drift."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
from starlette.responses import Response

from lifeloop.cleaning import REPORTS
from lifeloop.contracts import Column, Table
from lifeloop.errors import UnknownId
from lifeloop.evaluate import served
from lifeloop.measure import REPORT
from lifeloop.serve.dashboard import formats
from lifeloop.serve.dashboard.pages.explore import file
from lifeloop.serve.dashboard.view import Pages, View
from lifeloop.tables import Source

pages = Pages()

NEWEST = 20_000
"""Slates looked at: the newest."""

_KINDS: Mapping[str, Any] = {
    "ctr": "share", "cvr": "share", "coverage": "share", "catalogue_share": "share",
    "exposure_share": "share", "diversity": "number", "psi": "number", "score": "number",
    "ratio": "number",
}  # fmt: skip


@pages.get("/dashboard/recommendations")
def recommendations(view: View) -> Response:
    """Show what became of the slates that were served, and how good the models are offline."""
    store = view.service.loop.store
    n_decisions = store.counts()["decisions"]
    found = {name: _grid(view, name) for name in TABLES_OF} if n_decisions else {}
    return view.show(
        "served.html",
        n=n_decisions,
        newest=NEWEST,
        grids=found,
        spread=view.desk.made(("served", "spread"), _spread(view)) if n_decisions else None,
        report=_report(view),
        bundles=store.bundles()[:5],
    )


@pages.file("/dashboard/recommendations/csv/{name}")
def as_csv(view: View) -> Response:
    """Return one of the tables as a file."""
    name = view.part("name")
    if name not in TABLES_OF:
        raise UnknownId("there is no such table", got=name, allowed=", ".join(TABLES_OF))
    return file(_grid(view, name), f"recommendations-{name}.csv")


def _slates(view: View) -> Callable[[Source], pl.DataFrame]:
    store = view.service.loop.store

    def read(source: Source) -> pl.DataFrame:
        newest = store.newest_decisions(NEWEST, to_seq=source.seq)
        return served.slates(newest).reverse()

    return read


def _outcomes(view: View) -> Callable[[Source], pl.DataFrame]:
    def join(source: Source) -> pl.DataFrame:
        slates = view.desk.reading().get(("served", "slates"), _slates(view))
        return served.outcomes(slates, source.events, orders=source.scenario.order_types)

    return join


def _places(view: View) -> pl.DataFrame:
    return view.desk.made(("served", "outcomes"), _outcomes(view))


def _items(source: Source) -> pl.DataFrame:
    held = source.items_with(frozenset())
    columns = [c for c in ("item_id", "category", "brand", "provider_id") if c in held.columns]
    return held.select(columns)


def _by_stage(view: View, source: Source) -> pl.DataFrame:
    places, items = _places(view), _items(source)
    varied = served.variety(places, items.select("item_id", "category"), "stage")
    return served.rates(places, "stage").join(
        varied.drop("slates"), on="stage", how="left", nulls_equal=True
    )


def _exposed(view: View, source: Source) -> pl.DataFrame:
    items = _items(source)
    wanted = ("provider_id", "brand", "category")
    by = next((c for c in wanted if c in items.columns and items[c].n_unique() > 2), "category")
    return served.exposure(_places(view), items, by).head(25)


def _drift(view: View, source: Source) -> pl.DataFrame:
    made = served.drift(view.desk.reading().get(("served", "slates"), _slates(view)))
    if made.is_empty():
        return made
    days = [formats.moment(us, view.zone)[:10] for us in made["week"].to_list()]
    return made.with_columns(pl.Series("week", days))


TABLES_OF: Mapping[str, Callable[[View, Source], pl.DataFrame]] = {
    "position": lambda view, source: served.rates(_places(view), "position"),
    "stage": _by_stage,
    "version": lambda view, source: served.rates(_places(view), "bundle"),
    "level": lambda view, source: served.rates(_places(view), "level"),
    "exposure": _exposed,
    "drift": _drift,
}
"""The tables of the page by name."""


def _grid(view: View, name: str) -> Table:
    frame = view.desk.made(
        ("served", name, view.lang), lambda source: TABLES_OF[name](view, source)
    )
    t = view.t["served"]
    columns = tuple(
        Column(
            c,
            _KINDS.get(c.removesuffix("_low").removesuffix("_high"), _kind(kind)),
            t.get(f"c_{c}", view.said.column(c)),
        )
        for c, kind in frame.schema.items()
    )
    return Table(name=name, title=t[name], columns=columns, rows=frame)


def _kind(kind: pl.DataType) -> Any:
    return "text" if kind == pl.String else "number" if kind.is_float() else "integer"


def _spread(view: View) -> Callable[[Source], dict[str, Any]]:
    return lambda source: dict(served.concentration(_places(view), source.items.height))


def _report(view: View) -> dict[str, Any] | None:
    """Return the last evaluation that `lifeloop evaluate` kept; None where there is none."""
    path = view.service.loop.home / REPORTS / REPORT
    if not path.is_file():
        return None
    try:
        told: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError:
        return None
    return told
