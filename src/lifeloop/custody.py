"""Where one project keeps its whole history, and how a person leaves all of it."""

from pathlib import Path

from lifeloop.config import Scenario
from lifeloop.contracts import ErasureReport, Lake, Store


def lake_of(store: Store, scenario: Scenario, home: Path) -> Lake:
    """Return the lake of a project: a folder in it, or the URL that its settings name."""
    where = scenario.storage.lake
    return store.lake(where if "://" in where else str(home / where), zone=scenario.locale.zone)


def erase(store: Store, lake: Lake, user_id: str, *, at_us: int) -> ErasureReport:
    """Remove a person from the store, and from the files of the lake where there is one."""
    report = store.erase(user_id, at_us=at_us)
    if lake.status().files:
        lake.extend()
    return report
