"""One file per page of the dashboard."""

from lifeloop.serve.dashboard.pages import (
    explore,
    items,
    models,
    overview,
    people,
    quality,
    retention,
    served,
    settings,
    stages,
    value,
)

__all__ = [
    "ROUTERS",
    "explore",
    "items",
    "models",
    "overview",
    "people",
    "quality",
    "retention",
    "served",
    "settings",
    "stages",
    "value",
]

ROUTERS = tuple(
    page.pages.router
    for page in (
        overview,
        stages,
        retention,
        value,
        served,
        people,
        items,
        quality,
        models,
        settings,
        explore,
    )
)
"""In an order in which no pattern hides another."""
