"""Whether times make sense: a source's clock that is ahead, our own clock that went back."""

from collections.abc import Iterator
from datetime import UTC, datetime

import sqlalchemy as sa

from lifeloop.contracts import Finding
from lifeloop.store.backend import Backend
from lifeloop.store.tables import clock, events

_TOLERANCE_US = 5 * 60 * 1_000_000
"""Five minutes: clocks that nobody sets differ by seconds."""


def moments(backend: Backend, *, now_us: int) -> Iterator[Finding]:
    """Look at the times of events: of the future, before they could be, out of order."""
    ahead = now_us + _TOLERANCE_US
    later = events.c.occurred_us > events.c.received_us + _TOLERANCE_US
    lag = sa.func.lag(events.c.received_us).over(order_by=events.c.seq).label("before")
    steps = sa.select(events.c.received_us, lag).subquery()
    back = steps.c.before - steps.c.received_us
    n = sa.func.count()
    with backend.read() as con:
        future = con.execute(sa.select(n, sa.func.max(events.c.t_us)).where(events.c.t_us > ahead))
        n_future, newest = future.one()
        arrived = sa.select(n, sa.func.max(events.c.received_us))
        n_arrived, latest = con.execute(arrived.where(events.c.received_us > ahead)).one()
        n_skewed = int(con.execute(sa.select(n).select_from(events).where(later)).scalar_one())
        sources = con.execute(
            sa.select(events.c.source, n).where(later).group_by(events.c.source).order_by(n.desc())
        ).all()
        n_back, worst = con.execute(
            sa.select(n, sa.func.max(back)).select_from(steps).where(back > 0)
        ).one()
        span = con.execute(sa.select(sa.func.min(events.c.t_us), sa.func.max(events.c.t_us))).one()
        kept = con.execute(sa.select(clock.c.first_event_us, clock.c.last_event_us)).one()
    wrong = n_future or n_arrived
    if n_future:
        yield Finding(
            "clock",
            "failure",
            f"events lie in the future, up to {_iso(newest)}: they move the moment of analysis",
            count=int(n_future),
            next="set this machine's clock; if it is right, it was wrong when these came: "
            "restore a backup from before",
        )
    if n_arrived:
        yield Finding(
            "clock",
            "failure",
            f"events arrived in the future, up to {_iso(latest)}: this machine's clock went back",
            count=int(n_arrived),
            next="set this machine's clock",
        )
    if n_skewed:
        yield Finding(
            "clock",
            "warning",
            "events say that they happened after they arrived; they were given the time of arrival",
            count=n_skewed,
            examples=tuple(f"{source or 'live'}: {count:,}" for source, count in sources[:5]),
            next="set the clocks of these sources, or send sent_at, by which they are corrected",
        )
    if n_back:
        yield Finding(
            "clock",
            "note" if worst < 1_000_000 else "warning",
            f"events arrived before those stored earlier, by up to {worst / 1e6:,.1f} s: this "
            "machine's clock was set back, or several writers' clocks differ",
            count=int(n_back),
            next="run a time service (NTP) on every machine that writes",
        )
    if span[0] is not None and (kept[0] is None or kept[0] > span[0] or kept[1] < span[1]):
        yield Finding(
            "clock",
            "failure",
            "the store's own span of event times is narrower than its events",
            examples=(f"{kept[0]} to {kept[1]}, events {span[0]} to {span[1]}",),
            next="lifeloop restore the newest sound backup",
        )
    elif not (wrong or n_skewed or n_back):
        yield Finding("clock", "ok", "no event lies in the future, none came before it happened")


def _iso(t_us: int) -> str:
    try:
        return datetime.fromtimestamp(t_us // 1_000_000, tz=UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{t_us:,} µs"
