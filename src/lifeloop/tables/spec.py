"""What a table by name is: how it is computed, what may be asked, and when it cannot be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from lifeloop.tables.source import Source

OptionKind = Literal["choice", "integer", "number", "pairs"]
Compute = Callable[..., pl.DataFrame]
Given = Callable[[Source], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that may be asked of a table besides the window: its kind, default and meaning."""

    name: str
    kind: OptionKind
    default: Any
    help: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """How one table is computed.

    ``given`` are the arguments that the scenario decides; ``stage`` names the stage whose metric
    it is; ``shows`` the entries of ``observable`` that must be there; ``column`` an event column
    that must hold something, ``types`` event types of which there must be one. ``window`` is
    False where ``start``, ``end`` and ``grain`` do not make rows; ``days`` is True where a daily
    state gives the same answer as the events. ``notes`` are the sentences of the catalogue that
    always go with it.
    """

    name: str
    compute: Compute
    stage: str
    given: Given = lambda source: {}
    options: tuple[Option, ...] = ()
    shows: tuple[str, ...] = ()
    column: str | None = None
    types: tuple[str, ...] = ()
    counts_new: bool = False
    window: bool = True
    days: bool = False
    notes: tuple[str, ...] = ()
