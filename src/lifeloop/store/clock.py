"""The one counter that orders everything the store learns."""

import sqlalchemy as sa

from lifeloop.store.backend import Backend
from lifeloop.store.tables import clock


def newest(con: sa.Connection) -> int:
    """Return the newest sequence number, 0 when nothing was ever stored."""
    return int(con.execute(sa.select(clock.c.seq)).scalar_one())


def take(con: sa.Connection, n: int, *, times: tuple[int, int] | None = None) -> int:
    """Take ``n`` numbers inside a write transaction and return the number before the first.

    ``times`` are the oldest and the newest event time of what is written.

    Also with ``n`` = 0 the row changes, so that the commit syncs: whoever is told "duplicate"
    may rely on the first copy being on disk, even where it came just before a crash.
    """
    before = newest(con)
    values: dict[str, object] = {"seq": before + n, "touched": clock.c.touched + 1}
    if times is not None:
        first, last = clock.c.first_event_us, clock.c.last_event_us
        values["first_event_us"] = sa.case((first < times[0], first), else_=times[0])
        values["last_event_us"] = sa.case((last > times[1], last), else_=times[1])
    con.execute(sa.update(clock).values(values))
    return before


def settle(backend: Backend) -> int:
    """Make everything that was committed so far durable; return the newest number.

    A bulk import of another process commits before it syncs. What is written beside the store
    from what was read of it (the lake) must not outlive rows that a loss of power takes back.
    """
    with backend.write() as con:
        return take(con, 0)
