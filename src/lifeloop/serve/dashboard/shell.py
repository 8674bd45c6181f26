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
_STAR = "M12 3l2.6 5.6 6 .7-4.4 4.1 1.2 6L12 16.5 6.6 19.4l1.2-6L3.4 9.3l6-.7z"
_SHIELD = "M9 12l2 2 4-5M12 3l8 3v6c0 5-3.5 8-8 9-4.5-1-8-4-8-9V6z"
_SLIDERS = "M4 7h10M18 7h2M4 17h2M10 17h10M16 5v4M8 15v4"

NAV = (
    Place("overview", "/dashboard", "M3 12h4l3-8 4 16 3-8h4", "lifecycle"),
    Place("stages", "/dashboard/stages", "M4 20V10M10 20V4M16 20v-8M22 20H2", "lifecycle"),
    Place("retention", "/dashboard/retention", "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4z", "lifecycle"),
    Place("value", "/dashboard/value", "M12 3v18M17 7a5 3 0 1 0-5 5 5 3 0 1 1-5 5", "lifecycle"),
    Place("recommendations", "/dashboard/recommendations", _STAR, "look"),
    Place("users", "/dashboard/users", _PERSON, "look"),
    Place("items", "/dashboard/items", "M4 7l8-4 8 4v10l-8 4-8-4zM4 7l8 4 8-4M12 11v10", "look"),
    Place("quality", "/dashboard/quality", _SHIELD, "operate"),
    Place("models", "/dashboard/models", "M12 3l9 5-9 5-9-5zM3 13l9 5 9-5", "operate"),
    Place("settings", "/dashboard/settings", _SLIDERS, "operate"),
)
"""Every page of the navigation, in order."""
