"""What was done, by one person or by all."""

from dataclasses import dataclass

import polars as pl

from lifeloop.contracts.words import Bool, Double, Long


@dataclass(frozen=True, slots=True)
class History:
    """Everything one person did up to a moment, oldest first, ties in arrival order.

    All lists have one entry per event. ``t_us`` is ``UNTIMED`` where the time is unknown;
    ``value``, ``quantity`` and ``rating`` are NaN where absent.
    """

    user_id: str
    known: bool
    type: tuple[str, ...]
    item_id: tuple[str | None, ...]
    t_us: Long
    value: Double
    quantity: Double
    rating: Double
    order_id: tuple[str | None, ...]
    text: tuple[str | None, ...]
    is_bot: Bool
    seq: Long

    def __len__(self) -> int:
        return len(self.type)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a store learned after one sequence number, up to ``seq``.

    ``events`` came since (``STORED_EVENT_SCHEMA``, people resolved as now known). ``people`` are
    those whose earlier events changed hands or content: both sides of every new identity link,
    and the owners of replaced order lines. ``before`` is how many of the earlier events are still
    held: fewer than there were means that somebody was erased.
    """

    events: pl.DataFrame
    people: tuple[str, ...]
    seq: int
    before: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The store as known at ``seq`` and up to event time ``as_of_us`` (exclusive bound: t < as_of).

    ``events`` has ``STORED_EVENT_SCHEMA``; its ``user_id`` is resolved through the identity
    links (an unlinked visitor is ``anon:<anonymous_id>``), superseded order-line versions are
    out, and rows are sorted by (user_id, t_us, seq). ``users`` and ``items`` hold the version
    known at ``seq``.
    """

    events: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame
    as_of_us: int | None
    seq: int
