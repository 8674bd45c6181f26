"""lifeloop: a recommender system that manages the whole life of a user.

The public names load when they are first used, so that ``import lifeloop`` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lifeloop.config import Scenario
    from lifeloop.events.records import Event, Item, User
    from lifeloop.loop import Lifeloop

__version__ = "0.1.0"

_HOME = {
    "Event": "lifeloop.events.records",
    "Item": "lifeloop.events.records",
    "Lifeloop": "lifeloop.loop",
    "Scenario": "lifeloop.config",
    "User": "lifeloop.events.records",
}

__all__ = ["Event", "Item", "Lifeloop", "Scenario", "User"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lifeloop' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
