"""Where one project keeps its whole history, how it is copied, and how a person leaves it."""

import zipfile
from pathlib import Path
from typing import Any

from lifeloop.config import Scenario
from lifeloop.contracts import ErasureReport, Lake, Store
from lifeloop.errors import InputError
from lifeloop.home import SETTINGS_FILE, Home
from lifeloop.store import open_store


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


def backup(store: Store, home: Path, path: Path) -> dict[str, Any]:
    """Write the store, the settings and the active bundle to one file; the key stays out of it."""
    files = {SETTINGS_FILE: home / SETTINGS_FILE} if (home / SETTINGS_FILE).is_file() else {}
    active = store.active_bundle()
    if active is not None:
        place = home / "bundles" / active
        found = [file for file in sorted(place.rglob("*")) if file.is_file()]
        files |= {file.relative_to(home).as_posix(): file for file in found}
    return store.backup(path, files=files)


def restore(path: Path, folder: Path, *, url: str | None = None) -> dict[str, Any]:
    """Make a project in ``folder`` from a backup: settings, active bundle, and an empty database.

    ``url`` is the database; without it, the one that the settings name.

    Raises
    ------
    InputError
        If the folder is a project already, or the file is no backup.
    """
    if (folder / SETTINGS_FILE).exists():
        raise InputError("this folder is a project already", got=str(folder), hint="name a new one")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(path) as held:
            names = [name for name in held.namelist() if name.startswith("project/")]
            inside = folder.resolve()
            for name in names:
                file = (inside / name.removeprefix("project/")).resolve()
                if not file.is_relative_to(inside):
                    raise InputError("the backup names a file outside the project", got=name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(held.read(name))
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"the file is no sound backup ({error})", got=str(path)) from error
    home = Home.of(url or folder, scenario=None)
    store = open_store(home.url, keys=folder)
    try:
        return store.restore(path)
    finally:
        store.close()
