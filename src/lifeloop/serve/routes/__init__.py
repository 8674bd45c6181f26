"""The routes, one file per kind of thing."""

from lifeloop.serve.routes import health, recommend

__all__ = ["ROUTERS", "health", "recommend"]

ROUTERS = (health.router, recommend.router)
