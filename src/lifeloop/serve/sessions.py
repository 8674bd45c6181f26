"""A history that is not stored: of a visitor's session as the caller knows it, or of nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lifeloop.contracts import UNTIMED, History
from lifeloop.errors import InputError
from lifeloop.events import Event, parse_event

VISITOR = "session"
"""Who a session belongs to where the caller names nobody."""


def parsed(user_id: str, raws: Sequence[Mapping[str, Any]], *, zone: str, now_us: int) -> History:
    """Return a session as a history; an event without a time happened just now.

    Raises
    ------
    InputError
        With the problems of every event at once.
    """
    events: list[Event] = []
    problems: list[str] = []
    for at, raw in enumerate(raws):
        try:
            event = parse_event({"anonymous_id": VISITOR, **raw}, zone=zone)
        except InputError as error:
            problems.append(f"history[{at}]: {error}")
            continue
        events.append(
            event if event.occurred_us is not None else replace(event, occurred_us=now_us)
        )
    if problems:
        raise InputError(f"the history was refused: {'; '.join(problems)}")
    return history_of(user_id, sorted(events, key=lambda event: event.occurred_us or 0))


def history_of(user_id: str, events: Sequence[Event]) -> History:
    """Return events, oldest first, as the history of a person whom the store need not know."""

    def numbers(name: str) -> Any:
        given = [getattr(event, name) for event in events]
        return np.array([np.nan if v is None else v for v in given], np.float64)

    times = [UNTIMED if event.occurred_us is None else event.occurred_us for event in events]
    return History(
        user_id=user_id,
        known=False,
        type=tuple(event.type for event in events),
        item_id=tuple(event.item_id for event in events),
        t_us=np.array(times, np.int64),
        value=numbers("value"),
        quantity=numbers("quantity"),
        rating=numbers("rating"),
        order_id=tuple(event.order_id for event in events),
        text=tuple(event.text for event in events),
        is_bot=np.array([bool(event.is_bot) for event in events], np.bool_),
        seq=np.zeros(len(events), np.int64),
    )
