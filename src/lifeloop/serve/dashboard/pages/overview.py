"""Where all users stand, what grew, what changed and why."""

from typing import Any

from starlette.responses import Response

from lifeloop.serve.dashboard.cards import card
from lifeloop.serve.dashboard.changes import stories
from lifeloop.serve.dashboard.dimensions import choices
from lifeloop.serve.dashboard.filters import Filters
from lifeloop.serve.dashboard.sparks import parts, spark
from lifeloop.serve.dashboard.view import Pages, View

pages = Pages()

HEADLINES = ("active", "new_users", "net", "orders", "aov", "conversion_rate", "repeat_rate")
"""Key metrics at the top of the page, as far as the log can show them."""

FALLS_ARE_GOOD = ("dormant",)
MOST_HEADLINES = 5


@pages.get("/dashboard")
def overview(view: View) -> Response:
    """Show the overview."""
    filters = view.filters()
    if not view.service.loop.store.counts()["events"]:
        return view.show("start.html")
    told = view.desk.overview(**filters.whole(), lang=view.lang)
    return view.show(
        "overview.html",
        f=filters,
        choices=choices(view, filters),
        stages=list(told.stages.rows.iter_rows(named=True)),
        stage_parts=parts([(r["stage"], r["users"]) for r in told.stages.rows.to_dicts()]),
        users=int(told.stages.rows["users"].sum()),
        headlines=headlines(told.metrics.rows.to_dicts()),
        stories=stories(view, told, filters),
        cards=[
            card(view, "stage_counts", filters),
            card(view, "growth_accounting", filters),
            card(view, "transitions", _recent(filters, view), wide=True),
            card(view, "active_users", filters),
            card(view, "orders", filters),
        ],
        notes=told.notes,
    )


def headlines(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the key metrics that can be shown, at most ``MOST_HEADLINES``, with their trend."""
    by_name = {row["metric"]: row for row in rows}
    found = [by_name[n] for n in HEADLINES if n in by_name and by_name[n]["value"] is not None]
    return [figure(row) for row in found[:MOST_HEADLINES]]


def figure(row: dict[str, Any]) -> dict[str, Any]:
    """Return a key metric as the page shows it."""
    good = "down" if row["metric"] in FALLS_ARE_GOOD else "up"
    return {**row, "spark": spark(row["recent"] or []), "good": good}


def _recent(filters: Filters, view: View) -> Filters:
    """Return the filters, over the last four weeks where no window was chosen."""
    if filters.start or filters.end:
        return filters
    return filters.lasting(28, last=choices(view, filters).last)
