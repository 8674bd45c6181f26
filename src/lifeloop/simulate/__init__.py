"""Worlds with known truth."""

from lifeloop.simulate.files import write_world
from lifeloop.simulate.world import Truth, World, world

__all__ = ["Truth", "World", "world", "write_world"]
