"""Who comes back: cohorts, curves, brackets, states."""

from typing import Any

from starlette.responses import Response

from lifeloop.serve.dashboard.cards import card
from lifeloop.serve.dashboard.dimensions import choices
from lifeloop.serve.dashboard.filters import own_options
from lifeloop.serve.dashboard.view import Pages, View

pages = Pages()

KINDS = ("nday", "unbounded", "bracket")
COHORTS = ("first", "recurring")


@pages.get("/dashboard/retention")
def retention(view: View) -> Response:
    """Show retention of one kind, and how people move between active and not."""
    filters = view.filters()
    chosen: dict[str, Any] = {
        "kind": view.asked("kind", KINDS[0]),
        "cohort": view.asked("cohort", COHORTS[0]),
    }
    asked = {**chosen, **own_options(view.request.query_params, ("brackets",))}
    if asked["kind"] != "bracket":
        asked.pop("brackets", None)
    return view.show(
        "retention.html",
        f=filters,
        choices=choices(view, filters),
        kinds=KINDS,
        cohorts=COHORTS,
        chosen=asked,
        cards=[
            card(view, "retention", filters, wide=True, **asked),
            card(view, "retention_curve", filters, wide=True, **asked),
            card(view, "return_rates", filters),
            card(view, "active_day_histogram", filters),
            card(view, "activity_states", filters, wide=True),
        ],
    )
