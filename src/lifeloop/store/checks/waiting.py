"""What waits for somebody: refused rows, and the key that recognises the erased."""

from collections.abc import Iterator

import sqlalchemy as sa

from lifeloop.contracts import Finding
from lifeloop.store.backend import Backend
from lifeloop.store.ledger import Ledger
from lifeloop.store.tables import events, quarantine, tombstones
from lifeloop.store.tombstones import KEY, key_of, marks_held

_MANY = 10_000
_SHARE = 0.01
_DAY_US = 86_400_000_000


def quarantined(backend: Backend, *, now_us: int) -> Iterator[Finding]:
    """Say how many refused rows there are, why, and since when."""
    n = sa.func.count()
    with backend.read() as con:
        rows = con.execute(
            sa.select(quarantine.c.reason, n).group_by(quarantine.c.reason).order_by(n.desc())
        ).all()
        oldest = con.execute(sa.select(sa.func.min(quarantine.c.received_us))).scalar()
        held = int(con.execute(sa.select(sa.func.count(events.c.event_id))).scalar_one())
    total = sum(int(count) for _, count in rows)
    if not total:
        yield Finding("quarantine", "ok", "no refused row waits")
        return
    many = total >= _MANY or total > _SHARE * max(held, 1)
    days = max(now_us - (oldest or now_us), 0) / _DAY_US
    yield Finding(
        "quarantine",
        "warning" if many else "note",
        f"{total:,} refused rows wait beside {held:,} events, the oldest for {days:,.0f} days",
        count=total,
        examples=tuple(f"{reason}: {count:,}" for reason, count in rows[:5]),
        next="lifeloop quarantine list, then retry with --map or --set, or remove what is not data",
    )


def key(backend: Backend) -> Iterator[Finding]:
    """Say whether the key is there by which the erased are recognised."""
    with backend.read() as con:
        n = int(
            con.execute(sa.select(sa.func.count()).where(tombstones.c.kind != KEY)).scalar_one()
        )
        if not n:
            yield Finding("key", "ok", "nobody was erased")
            return
        key_of(backend, con)  # raises, and the finding says so
        ledger = Ledger(backend.secret.folder).marks()
        lacking = sum(mark not in ledger for mark in marks_held(con))
    if lacking:
        yield Finding(
            "ledger",
            "warning",
            "the ledger of erasures beside the key lacks some: a backup from before them would "
            "bring those people back when it is restored",
            count=lacking,
            next="lifeloop backup FILE completes it, where its folder can be written to",
        )
    yield Finding("key", "ok", f"the key of {n:,} tombstones is there", count=n)
