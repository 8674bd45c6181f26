"""Which stages a log can show at all, and why not."""

from collections.abc import Mapping

from lifeloop.lifecycle.calendar import date_of, day_of
from lifeloop.lifecycle.definitions import StageDefinitions


def observable(
    event_types: Mapping[str, int],
    definitions: StageDefinitions,
    *,
    first_us: int | None = None,
    last_us: int | None = None,
    zone: str = "UTC",
) -> dict[str, str | None]:
    """Return for each stage None when the log can show it, else the reason in words.

    Parameters
    ----------
    event_types : mapping
        How many events of each type the log holds (``Store.event_types``).
    definitions : StageDefinitions
        What joins, activates and converts.
    first_us, last_us : int, optional
        First and last event time; without them what depends on the length of the log is judged
        as if there were no time at all.
    zone : str
        IANA zone of days.

    Returns
    -------
    dict
        Keys: the five product stages, then ``new``, ``at_risk``, ``churned``, ``resurrected``.
    """
    d = definitions
    held = {name for name, n in event_types.items() if n > 0}
    active = held - set(d.passive)
    higher = {*d.joins, *d.activates, *d.orders}
    why: dict[str, str | None] = dict.fromkeys(
        ("acquisition", "activation", "retention", "conversion", "loyalty"), None
    )
    if not active - higher:
        first = _listed(tuple(sorted(active))) if active else "event"
        why["acquisition"] = f"no visits: nobody can be seen before their first {first}"
    why["activation"] = _missing(d.joins, held, what="sign-ups", key="stages.joins")
    why["retention"] = _missing(d.activates, held, what="key actions", key="stages.activates")
    why["conversion"] = _missing(d.orders, held, what="orders", key="events.*.order")
    if why["conversion"] is not None:
        why["loyalty"] = why["conversion"]
    why |= _by_time(d, first_us=first_us, last_us=last_us, zone=zone)
    return why


def _missing(types: tuple[str, ...], held: set[str], *, what: str, key: str) -> str | None:
    if not types:
        return f"the scenario names no {what} ({key})"
    if held.isdisjoint(types):
        return f"no {what}: the log holds no event of type {_listed(types)}"
    return None


def _by_time(
    d: StageDefinitions, *, first_us: int | None, last_us: int | None, zone: str
) -> dict[str, str | None]:
    if first_us is None or last_us is None:
        return dict.fromkeys(("new", "at_risk", "churned", "resurrected"), "no event has a time")
    first, last = day_of(first_us, zone), day_of(last_us, zone)
    start, length = date_of(first).isoformat(), last - first
    why: dict[str, str | None] = {"new": None, "at_risk": None, "churned": None}
    if length < d.burn_in_days:
        why["new"] = (
            f"the log is {length + 1} days long and starts in the middle of its users' lives: "
            f"everybody was first seen in its first {d.burn_in_days} days and is existing, not new"
        )
    if length <= 1:
        why["at_risk"] = f"the log is {length + 1} days long: no silence can be seen"
    if length < d.churned_gap_days and not d.ends:
        why["churned"] = (
            f"the log is {length + 1} days long (from {start}): nobody can have been silent for "
            f"{d.churned_gap_days} days"
        )
    why["resurrected"] = why["churned"]
    return why


def truncation_note(definitions: StageDefinitions, *, first_us: int, zone: str = "UTC") -> str:
    """Return the sentence about left truncation that goes with every count of new users."""
    start = date_of(day_of(first_us, zone)).isoformat()
    return (
        f"the log starts on {start}, in the middle of its users' lives: first seen in its first "
        f"{definitions.burn_in_days} days are existing, not new"
    )


def _listed(types: tuple[str, ...]) -> str:
    return " or ".join(types)
