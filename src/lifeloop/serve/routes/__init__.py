"""The routes, one file per kind of thing."""

from fastapi import APIRouter

from lifeloop.serve.routes import health, recommend

ROUTERS: tuple[APIRouter, ...] = (health.router, recommend.router)
