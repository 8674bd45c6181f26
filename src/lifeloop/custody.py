"""Where one project keeps its whole history, how it is copied, and how a person leaves it."""

import os
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from lifeloop.config import Scenario
from lifeloop.contracts import ErasureReport, Lake, Store
from lifeloop.errors import InputError
from lifeloop.events.personal import is_email, pseudonym
from lifeloop.foretold import forget_predictions
from lifeloop.home import DATABASE_FILE, SETTINGS_FILE, Home, project_key
from lifeloop.store import open_store
from lifeloop.store.ledger import FILE as LEDGER_FILE
from lifeloop.store.secret import FILE as KEY_FILE
from lifeloop.tables.upkeep import forget_people


def lake_of(store: Store, scenario: Scenario, home: Path) -> Lake:
    """Return the lake of a project: a folder in it, or the URL that its settings name."""
    where = scenario.storage.lake
    return store.lake(where if "://" in where else str(home / where), zone=scenario.locale.zone)


def erase(store: Store, home: Home, user_id: str, *, at_us: int) -> ErasureReport:
    """Remove a person from the store, the lake, the daily state and the kept predictions.

    An e-mail address stands for itself and for its keyed hash: both go.
    """
    people = names_of(user_id, home.folder)
    known = [*people, *(f"anon:{alias.alias}" for name in people for alias in store.aliases(name))]
    reports = [store.erase(name, at_us=at_us) for name in people]
    lake = lake_of(store, home.scenario, home.folder)
    if lake.status().files:
        lake.extend()
    forget_people(store, home.scenario, home.folder / "daily", known)
    forget_predictions(home.folder, known)
    return summed(user_id, reports)


def names_of(user_id: str, home: Path) -> list[str]:
    """Return the ids under which somebody may be held: an address also as its keyed hash."""
    hashed = is_email(user_id)
    return [user_id, pseudonym(user_id, key=project_key(home))] if hashed else [user_id]


def summed(user_id: str, reports: Sequence[ErasureReport]) -> ErasureReport:
    """Return one report of the erasure of one person under several ids."""
    counted = [spec.name for spec in fields(ErasureReport) if spec.name not in ("user_id", "seq")]
    totals = {name: sum(getattr(report, name) for report in reports) for name in counted}
    return ErasureReport(user_id=user_id, seq=max(report.seq for report in reports), **totals)


def held(store: Store, user_id: str, home: Path) -> dict[str, Any]:
    """Return everything that is held about a person, as plain JSON; an address also as its hash."""
    first, *others = [store.held(name) for name in names_of(user_id, home)]
    for other in others:
        if any(rows for name, rows in other.items() if name != "user_id"):
            merged = {n: rows + other[n] for n, rows in first.items() if isinstance(rows, list)}
            first |= {"pseudonym": other["user_id"], **merged}
    return first


def backup(store: Store, home: Path, path: Path) -> dict[str, Any]:
    """Write the store, the settings and the active bundle to one file; the key stays out of it."""
    files = {SETTINGS_FILE: home / SETTINGS_FILE} if (home / SETTINGS_FILE).is_file() else {}
    active = store.active_bundle()
    if active is not None:
        place = home / "bundles" / active
        found = [file for file in sorted(place.rglob("*")) if file.is_file()]
        files |= {file.relative_to(home).as_posix(): file for file in found}
    return store.backup(path, files=files)


def restore(
    path: Path, folder: Path, *, url: str | None = None, keys: Path | None = None
) -> dict[str, Any]:
    """Make a project in ``folder`` from a backup: settings, active bundle, and an empty database.

    Everything is made in a folder beside it, which takes its place at the end: a damaged backup
    leaves nothing.

    Parameters
    ----------
    path : Path
        The backup.
    folder : Path
        The project to make. A ``project.key`` and an ``erasures.log`` that lie in it are used.
    url : str, optional
        The database; without it, the one that the settings name.
    keys : Path, optional
        Folder of the key and of the ledger of erasures, usually the former project.

    Raises
    ------
    InputError
        If the folder is a project already, or the file is no backup.
    """
    if (folder / SETTINGS_FILE).exists() or (folder / DATABASE_FILE).exists():
        raise InputError("this folder is a project already", got=str(folder), hint="name a new one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.restoring")
    draft.mkdir()
    made: Path | None = None
    try:
        _unpack(path, draft)
        for name in (KEY_FILE, LEDGER_FILE):
            places = [place / name for place in (keys, folder) if place is not None]
            for held_ in [place for place in places if place.is_file()][:1]:
                shutil.copy2(held_, draft / name)
        home = Home.of(url or draft, scenario=None)
        database = Path(home.url.removeprefix("sqlite:///"))
        elsewhere = home.url.startswith("sqlite:///") and not database.is_relative_to(draft)
        made = database if elsewhere and not database.exists() else None
        store = open_store(home.url, keys=draft)
        try:
            about = store.restore(path)
        finally:
            store.close()
        _take_place(draft, folder)
    except BaseException:
        if made is not None:
            for rest in ("", "-wal", "-shm"):
                Path(f"{made}{rest}").unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return about


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as packed:
            inside = folder.resolve()
            for name in packed.namelist():
                if not name.startswith("project/"):
                    continue
                file = (inside / name.removeprefix("project/")).resolve()
                if not file.is_relative_to(inside):
                    raise InputError("the backup names a file outside the project", got=name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(packed.read(name))
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"the file is no sound backup ({error})", got=str(path)) from error


def _take_place(draft: Path, folder: Path) -> None:
    """Put what was made where it belongs; the settings last, by which it is a project."""
    if not folder.exists():
        draft.rename(folder)
        return
    for entry in sorted(draft.iterdir(), key=lambda entry: entry.name == SETTINGS_FILE):
        entry.replace(folder / entry.name)
