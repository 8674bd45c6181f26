"""One file per page of the dashboard."""

from lifeloop.serve.dashboard.pages import explore, overview, people, stages

__all__ = ["ROUTERS", "explore", "overview", "people", "stages"]

ROUTERS = tuple(page.pages.router for page in (overview, stages, people, explore))
