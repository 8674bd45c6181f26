"""Exports of other systems, by name: which file is what, and how its fields are ours."""

from lifeloop.events.presets.choosing import preset_names, presets, read_preset
from lifeloop.events.presets.shape import Peek, Preset, Shape

__all__ = ["Peek", "Preset", "Shape", "preset_names", "presets", "read_preset"]
