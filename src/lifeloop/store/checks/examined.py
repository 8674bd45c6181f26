"""Every check of a database in its order; one that cannot be made is itself a finding."""

from collections.abc import Callable, Iterator
from functools import partial

from lifeloop.contracts import Finding
from lifeloop.errors import LifeloopError
from lifeloop.store.backend import Backend
from lifeloop.store.checks import database, moments, orphans, plans, sequence, waiting
from lifeloop.store.checks.contents import contents

Check = Callable[[Backend], Iterator[Finding]]


def examined(backend: Backend, *, now_us: int, quick: bool) -> list[Finding]:
    """Return what every check found; ``quick`` leaves out what reads the whole database.

    Where the schema is not the newest one, only what holds for every schema is looked at.
    """
    version = list(_tried("migration", database.version, backend))
    found = [*version, *_tried("integrity", partial(database.integrity, quick=quick), backend)]
    if any(finding.severity != "ok" for finding in version):
        return found
    checks: dict[str, Check] = {
        "indexes": database.indexes,
        "index use": plans.index_use,
        "sequence": sequence.sequence,
        "versions": sequence.superseded_pairs,
        "clock": partial(moments.moments, now_us=now_us),
        "orphans": orphans.orphans,
        "quarantine": partial(waiting.quarantined, now_us=now_us),
        "key": waiting.key,
    }
    if not quick:
        checks["contents"] = contents
    for name, check in checks.items():
        found += _tried(name, check, backend)
    return found


def _tried(name: str, check: Check, backend: Backend) -> Iterator[Finding]:
    try:
        yield from check(backend)
    except LifeloopError as error:
        yield Finding(
            name,
            "failure",
            f"could not be looked at: {getattr(error, 'what', error)}",
            next=getattr(error, "hint", None) or "see the other findings first",
        )
    except Exception as error:  # what lies in a damaged database may be anything
        yield Finding(
            name,
            "failure",
            f"could not be looked at: {error!r}",
            next="see the other findings first; what is stored is most likely damaged",
        )
