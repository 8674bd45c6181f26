"""The settings of a part as text, so that a bundle keeps what was chosen for it."""

import json
from dataclasses import fields, is_dataclass, replace
from typing import Any

from lifeloop.contracts import Retriever
from lifeloop.errors import BundleError


def settings_of(part: Retriever) -> str:
    """Return the settings of a part as JSON, to be kept in the bundle."""
    whole: Any = part
    if not is_dataclass(whole):
        return "{}"
    told = {field.name: getattr(whole, field.name) for field in fields(whole)}
    plain = {k: v for k, v in told.items() if isinstance(v, int | float | str | None)}
    return json.dumps(plain, sort_keys=True)


def with_settings(part: Retriever, settings: str) -> Retriever:
    """Return the part with the settings that ``settings_of`` told.

    Raises
    ------
    BundleError
        The settings name something that this version's part does not have.
    """
    whole: Any = part
    told: dict[str, Any] = json.loads(settings)
    unknown = sorted(name for name in told if not hasattr(whole, name))
    if unknown:
        raise BundleError(
            f"the bundle's settings of {part.name!r} are of another version",
            got=unknown,
            hint="train anew: lifeloop train",
        )
    changed: Retriever = replace(whole, **told) if told else whole
    return changed
