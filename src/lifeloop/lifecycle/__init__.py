"""Where every user stands: activity states, product stages, metrics. Pure functions."""

from lifeloop.lifecycle.definitions import OVERLAYS, PRODUCT_STAGES, StageDefinitions
from lifeloop.lifecycle.observable import observable, truncation_note
from lifeloop.lifecycle.request import stage_of
from lifeloop.lifecycle.stages import stages

__all__ = [
    "OVERLAYS",
    "PRODUCT_STAGES",
    "StageDefinitions",
    "observable",
    "stage_of",
    "stages",
    "truncation_note",
]
