"""Masks, diversity and the draw: from scored candidates to a slate with propensities."""

from lifeloop.policy.choose import Similarity, choose, propensities
from lifeloop.policy.masks import (
    ALWAYS,
    FOREVER,
    NEVER,
    Combined,
    available,
    combine,
    in_stock,
    outside_repeat_window,
    repeat_windows,
    say_shortfall,
)

__all__ = [
    "ALWAYS",
    "FOREVER",
    "NEVER",
    "Combined",
    "Similarity",
    "available",
    "choose",
    "combine",
    "in_stock",
    "outside_repeat_window",
    "propensities",
    "repeat_windows",
    "say_shortfall",
]
