"""One item: what it is, how it is used and shown, and what is like it."""

from typing import Any
from urllib.parse import quote

import polars as pl
from starlette.responses import RedirectResponse, Response

from lifeloop.errors import LifeloopError, UnknownId
from lifeloop.lifecycle.calendar import date_of
from lifeloop.serve.dashboard.sparks import bars
from lifeloop.serve.dashboard.view import Pages, View
from lifeloop.serve.records import REMOVED
from lifeloop.tables import Source

pages = Pages()

FOUND, SIMILAR, MOST_BARS = 50, 10, 104
WEEK_US = 7 * 86_400_000_000


@pages.get("/dashboard/items")
def items(view: View) -> Response:
    """Find an item by its id or its title; without a question, the most used ones."""
    wanted = view.asked("q").strip()
    held = view.desk.made(("items",), _used)
    if wanted and view.asked("exact") == "1":
        return RedirectResponse(f"/dashboard/items/{quote(wanted, safe='')}", status_code=303)
    if wanted:
        low = wanted.lower()
        same = pl.col("item_id") == wanted
        near = pl.col("item_id").str.contains(wanted, literal=True) | pl.col(
            "title"
        ).str.to_lowercase().str.contains(low, literal=True)
        held = held.filter(same | near.fill_null(value=False)).sort(same, descending=True)
    return view.show("items.html", q=wanted, items=held.head(FOUND).to_dicts(), total=held.height)


@pages.get("/dashboard/items/{item_id:id}")
def item(view: View) -> Response:
    """Show one item."""
    loop, item_id = view.service.loop, view.part("item_id")
    (found,) = loop.store.items([item_id])
    events = view.desk.reading().source.events.filter(pl.col("item_id") == item_id)
    if found is None and events.is_empty():
        raise UnknownId(view.t["item"]["unknown"], got=item_id, hint=view.t["item"]["unknown_next"])
    try:
        similar, why = loop.similar(item_id, SIMILAR), None
    except LifeloopError as error:
        similar, why = (), str(error)
    people = events.group_by("user_id").agg(n=pl.len(), last=pl.col("t_us").max())
    return view.show(
        "item.html",
        item_id=item_id,
        found=found,
        removed=found is not None and bool(found.attributes.get(REMOVED)),
        kinds=events["type"].value_counts(sort=True).to_dicts(),
        n_people=people.height,
        value=_value(events),
        weeks=_weeks(events),
        similar=similar,
        why=why,
        people=people.sort("last", descending=True).head(20).to_dicts(),
    )


def _used(source: Source) -> pl.DataFrame:
    """Return every item of the catalogue or of an event, the most used first."""
    used = (
        source.events.drop_nulls("item_id")
        .group_by("item_id")
        .agg(events=pl.len(), people=pl.col("user_id").n_unique())
    )
    named = source.items.select(
        "item_id", *[c for c in ("title", "categories", "price") if c in source.items.columns]
    )
    made = used.join(named, on="item_id", how="full", coalesce=True)
    return made.with_columns(pl.col("events", "people").fill_null(0)).sort(
        "events", "item_id", descending=[True, False]
    )


def _value(events: pl.DataFrame) -> float | None:
    values = events["value"].drop_nulls()
    return float(values.cast(pl.Float64).sum()) if len(values) else None


def _weeks(events: pl.DataFrame) -> list[dict[str, Any]]:
    if events.is_empty():
        return []
    first, last = events.select(lo=pl.col("t_us").min(), hi=pl.col("t_us").max()).row(0)
    width = WEEK_US * max(1, -(-(last - first) // (WEEK_US * MOST_BARS)))
    counts = dict(events.group_by((pl.col("t_us") - first) // width).agg(pl.len()).iter_rows())
    rows = [
        {
            "n": int(counts.get(k, 0)),
            "from": date_of((first + k * width) // 86_400_000_000).isoformat(),
        }
        for k in range((last - first) // width + 1)
    ]
    return bars(rows, height=56)
