"""What people are worth: so far, to come, by stage, at risk."""

from starlette.responses import Response

from lifeloop.serve.dashboard.cards import card
from lifeloop.serve.dashboard.dimensions import choices
from lifeloop.serve.dashboard.view import Pages, View
from lifeloop.tables import TABLES

pages = Pages()

TABS = {
    "lifetime": ("predicted_ltv", "ltv_by_age", "observed_ltv", "customer_value"),
    "stages": ("stage_value", "move_value"),
    "risk": ("churn_risk", "survival", "churn_effects"),
    "forecast": ("forecast",),
    "spend": ("orders", "rfm", "conversion"),
    "proof": (
        "ltv_backtest", "ltv_calibration", "churn_backtest", "churn_calibration",
        "forecast_backtest",
    ),
}  # fmt: skip
"""The tables of each tab, as far as there are any."""


@pages.get("/dashboard/value")
def value(view: View) -> Response:
    """Show one tab of value."""
    filters = view.filters()
    tabs = [name for name, tables in TABS.items() if any(table in TABLES for table in tables)]
    tab = view.asked("tab", tabs[0])
    tab = tab if tab in tabs else tabs[0]
    names = [name for name in TABS[tab] if name in TABLES]
    return view.show(
        "value.html",
        f=filters,
        choices=choices(view, filters),
        tabs=tabs,
        tab=tab,
        cards=[card(view, name, filters, wide=True) for name in names],
    )
