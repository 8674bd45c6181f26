"""Who is who: links told one by one, and those that another system's export holds."""

from collections import Counter
from collections.abc import Callable

import polars as pl

from lifeloop.contracts import AliasKind, IdentityReport, IngestReport, Reason, Store
from lifeloop.errors import IdentityRefused
from lifeloop.events.datasets import Dataset, Part
from lifeloop.events.personal import person_id
from lifeloop.events.readers.reading import rows_if_any


def identify(
    store: Store,
    anonymous_id: str,
    user_id: str,
    *,
    received_us: int,
    kind: AliasKind = "device",
    key: bytes | None = None,
) -> IdentityReport:
    """Link an alias to a user; with a ``key``, addresses are stored as their keyed hash."""
    return store.identify(
        person_id(anonymous_id, key=key),
        person_id(user_id, key=key),
        received_us=received_us,
        kind=kind,
    )


def linked(
    store: Store,
    export: Dataset,
    reports: list[tuple[Part, IngestReport]],
    *,
    clock: Callable[[], int],
    key: bytes | None = None,
) -> list[tuple[Part, IngestReport]]:
    """Link who the export says are one person; told in the notes of the last report.

    A link that is refused (two known users, a placeholder) is flagged and kept in the audit.
    """
    counts: Counter[str] = Counter()
    with store.bulk():
        for part in export.links:
            for raw in rows_if_any(part.path, "event", options=part.options):
                if not {"user_id", "anonymous_id"} <= set(raw.frame.columns):
                    continue
                pairs = raw.frame.select("anonymous_id", "user_id").cast(pl.String).drop_nulls()
                for visitor, user in pairs.unique(maintain_order=True).iter_rows():
                    try:
                        told = identify(store, visitor, user, received_us=clock(), key=key)
                        counts[told.status] += 1
                    except IdentityRefused:
                        counts["refused"] += 1
    if counts:
        n = counts["linked"]
        note = f"{n:,} visitors were linked to users, {counts['already']:,} were already"
        flagged = (Reason("link_refused", counts["refused"]),) if counts["refused"] else ()
        part, report = reports[-1]
        reports[-1] = part, report + IngestReport(notes=(note,), flagged=flagged)
    return reports
