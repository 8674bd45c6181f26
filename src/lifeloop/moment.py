"""The default moment of analysis: now, or the end of the data when nothing new arrives."""

import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache

from lifeloop.config import Scenario

DAY_US = 86_400_000_000
Clock = Callable[[], int]
"""Returns now in microseconds UTC."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of analysis (exclusive bound of event time) and why it was chosen."""

    as_of_us: int
    why: str

    @property
    def as_of(self) -> datetime:
        """The moment as a datetime in UTC."""
        return datetime.fromtimestamp(self.as_of_us / 1e6, tz=UTC)


def moment(last_us: int | None, scenario: Scenario, *, now_us: int) -> Moment:
    """Return the moment at which stages, training and evaluation look at the store.

    ``last_us`` is the time of its newest event (``Store.head``).

    ``time.as_of`` of the scenario decides. With ``auto`` a store that has received no event for
    ``stale_after_days`` is read at the end of its last local day, so that last year's export is
    not a shop whose every customer has churned.
    """
    now_us += 1  # the bound is exclusive: what was stored in this microsecond counts
    rule = scenario.time.as_of
    if last_us is None or rule == "now":
        return Moment(now_us, "now")
    stale = now_us - last_us > scenario.time.stale_after_days * DAY_US
    if rule == "auto" and not stale:
        return Moment(now_us, "now")
    end_us = min(end_of_local_day(last_us, scenario.locale.zone), max(now_us, last_us + 1))
    return Moment(end_us, "end of the data: no event is newer")


@lru_cache(maxsize=64)
def end_of_local_day(t_us: int, zone: str) -> int:
    """Return the first instant of the next local calendar day, in microseconds UTC."""
    tz = zoneinfo.ZoneInfo(zone)
    local = datetime.fromtimestamp(t_us // 1_000_000, tz=tz)
    midnight = datetime.combine(local.date() + timedelta(days=1), time(), tzinfo=tz)
    return int(midnight.timestamp()) * 1_000_000
