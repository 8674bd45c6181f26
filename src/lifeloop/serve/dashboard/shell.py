"""The frame of all pages: where one can go."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """One entry of the navigation: its text is ``t.nav[name]``; ``icon`` is an SVG path."""

    name: str
    path: str
    icon: str
    group: str


_PERSON = "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4 21a8 8 0 0 1 16 0"

NAV = (
    Place("overview", "/dashboard", "M3 12h4l3-8 4 16 3-8h4", "lifecycle"),
    Place("stages", "/dashboard/stages", "M4 20V10M10 20V4M16 20v-8M22 20H2", "lifecycle"),
    Place("users", "/dashboard/users", _PERSON, "look"),
)
"""Every page of the navigation, in order."""
