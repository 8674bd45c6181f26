"""What became of every file that was imported: kept with the store, for whoever looks later."""

from typing import Any

from lifeloop.contracts import IngestReport, Store

KIND = "import"
KEPT = 200
"""Reports kept: the newest."""


def keep(store: Store, report: IngestReport, *, kind: str, file: str, at_us: int) -> None:
    """Keep the report of one file, row numbers included, rows themselves not."""
    told = {"file": file, "kind": kind, "at_us": at_us, **report.to_dict()}
    store.kept.put(KIND, f"{at_us}-{kind}-{file}"[:200], told, at_us=at_us)
    names = list(store.kept.every(KIND))
    for name in names[:-KEPT]:
        store.kept.drop(KIND, name)


def imports(store: Store) -> list[dict[str, Any]]:
    """Return the reports, newest first: file, kind, at_us, and the counts of the report."""
    return list(store.kept.every(KIND).values())[::-1]
