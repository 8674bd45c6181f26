"""The stages: what each means here, its key metrics and trend, and who is in it."""

import polars as pl
from starlette.responses import Response

from lifeloop.errors import UnknownId
from lifeloop.lifecycle import SHOWN, StageDefinitions
from lifeloop.serve.dashboard.cards import card
from lifeloop.serve.dashboard.dimensions import choices
from lifeloop.serve.dashboard.pages.overview import figure
from lifeloop.serve.dashboard.view import Pages, View

pages = Pages()

TABLES_OF = {
    "acquisition": ("traffic", "signup_conversion", "sessions"),
    "activation": ("activation",),
    "retention": ("active_users", "retention_curve"),
    "conversion": ("conversion", "orders"),
    "loyalty": ("observed_ltv", "referrals", "satisfaction"),
    "at_risk": ("return_rates", "activity_states"),
    "resurrected": ("growth_accounting",),
    "churned": ("churn_rate", "growth_accounting"),
}
"""The tables that speak of each stage."""

PEOPLE = 50
COLUMNS = (
    "user_id", "stage", "product_stage", "since", "gap_days", "orders", "last_active", "rule",
)  # fmt: skip
SORTS = ("since", "gap_days", "orders", "last_active", "user_id")


@pages.get("/dashboard/stages")
def all_stages(view: View) -> Response:
    """Show every stage with its key metrics."""
    filters = view.filters()
    told = view.desk.overview(**filters.whole(), lang=view.lang)
    metrics = told.metrics.rows.to_dicts()
    return view.show(
        "stages.html",
        f=filters,
        choices=choices(view, filters),
        stages=told.stages.rows.to_dicts(),
        metrics={s: [figure(m) for m in metrics if m["stage"] == s] for s in SHOWN},
        meaning={s: meaning(view, s) for s in SHOWN},
        cards=[card(view, "stage_counts", filters, wide=True)],
    )


@pages.get("/dashboard/stages/{stage}")
def one_stage(view: View) -> Response:
    """Show one stage: its metrics, its trend, its people."""
    stage, filters = view.part("stage"), view.filters()
    if stage not in SHOWN:
        raise UnknownId("there is no such stage", got=stage, allowed=", ".join(SHOWN))
    told = view.desk.overview(**filters.whole(), lang=view.lang)
    (row,) = (r for r in told.stages.rows.to_dicts() if r["stage"] == stage)
    metrics = [m for m in told.metrics.rows.to_dicts() if m["stage"] == stage]
    sort = view.asked("sort", "last_active")
    sort = sort if sort.removeprefix("-") in SORTS else "last_active"
    table = view.desk.table("stages", **filters.asked(), lang=view.lang)
    people = table.rows
    if table.reason is None:
        people = people.filter(pl.col("stage") == stage).sort(
            sort.removeprefix("-"), descending=sort != "user_id", nulls_last=True
        )
    page = view.number("page", 0, most=1_000_000)
    columns = {c.name: c for c in table.columns}
    return view.show(
        "stage.html",
        f=filters,
        choices=choices(view, filters),
        stage=stage,
        row=row,
        metrics=[figure(m) for m in metrics],
        meaning=meaning(view, stage),
        cards=[card(view, name, filters) for name in TABLES_OF[stage]],
        trend=card(view, "stage_counts", filters, wide=True),
        sort=sort,
        sorts=SORTS,
        columns=[columns[n] for n in COLUMNS if n in columns],
        people=people.slice(page * PEOPLE, PEOPLE).to_dicts(),
        total=people.height,
        page=page,
        size=PEOPLE,
        others=SHOWN,
    )


def meaning(view: View, stage: str) -> str:
    """Return what a stage means under the scenario, in words."""
    d = StageDefinitions.of(view.service.loop.scenario)

    def named(kinds: tuple[str, ...]) -> str:
        return ", ".join(kinds) or view.t["meaning"]["nothing"]

    text: str = view.t["meaning"][stage]
    return text.format(
        joins=named(d.joins),
        activates=named(d.activates),
        times=d.activate_times,
        orders=named(d.orders),
        loyal=d.loyal_orders,
        within=d.active_within_days,
        silent=d.at_risk_gap_days,
        churned=d.churned_gap_days,
        back=d.resurrected_days,
    )
