"""The same picture on a page: without its own title, on the page's ground, light or dark.

The browser draws it with the bundle of Vega that vl-convert carries in its wheel; nothing is
fetched from elsewhere, and nothing of it is committed.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from lifeloop.charts.look import FAINT, INK, WIDTH

Theme = Literal["light", "dark"]

_DARK = {
    INK: "#dbe3ec",
    FAINT: "#93a0b1",
    "#e8ecf1": "#26313f",
    "#c5ccd6": "#4a5769",
    "rgba(60,70,90,0.28)": "rgba(200,210,230,0.26)",
    "rgba(60,70,90,0.0)": "rgba(200,210,230,0.0)",
}
"""What a colour of the light page is on a dark one."""

MARGIN = 76
"""Pixels beside a plot that its axis and its labels take."""


def for_page(specification: Mapping[str, Any], *, theme: Theme = "light") -> dict[str, Any]:
    """Return a specification to be drawn inside a card, whose width the page decides.

    ``usermeta`` tells the page's script what it may stretch: plots of ``width`` pixels, leaving
    ``margin`` beside them.
    """
    text = json.dumps(specification)
    if theme == "dark":
        for light, dark in _DARK.items():
            text = text.replace(light, dark)
    made: dict[str, Any] = json.loads(text)
    made.pop("title", None)
    made["background"] = "transparent"
    made["padding"] = 4
    config = made.setdefault("config", {})
    config.pop("background", None)
    config.pop("padding", None)
    width = made.get("width", WIDTH)
    stretches = isinstance(width, int) and width > WIDTH // 2
    margin = MARGIN if width == WIDTH else 250  # a flow has its words beside it
    if stretches:
        made["usermeta"] = {"width": width, "margin": margin}
    return made


@lru_cache(maxsize=1)
def script() -> bytes:
    """Return the script that defines ``vegaEmbed`` in a browser, from the installed wheel."""
    import vl_convert

    made: str = vl_convert.javascript_bundle("window.vegaEmbed=vegaEmbed;")
    return made.encode()
