"""The routes, one file per kind of thing. The order decides where two patterns fit one path."""

from lifeloop.serve.routes import events, health, models, people, recommend, records

__all__ = ["ROUTERS", "events", "health", "models", "people", "recommend", "records"]

ROUTERS = (health.router, recommend.router, people.router, models.router, records.router)
