"""The examination of a whole project: database, lake, key, models, room. It changes nothing."""

import shutil
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from lifeloop.contracts import Finding, Store
from lifeloop.custody import lake_of
from lifeloop.errors import LifeloopError
from lifeloop.events.personal import PREFIX
from lifeloop.home import Home
from lifeloop.store import load_bundle, open_store
from lifeloop.store.secret import FILE as KEY
from lifeloop.store.secret import Secret

_SQLITE = "sqlite:///"
_LEAST = 256 * 1024**2
"""Bytes below which a disk is as good as full."""

ORDER = ("failure", "warning", "note", "ok")


def examine(home: Home, *, clock: Callable[[], int], quick: bool = False) -> list[Finding]:
    """Return everything that was looked at, the worst first.

    Parameters
    ----------
    home : Home
        The project.
    clock : callable
        Returns the present moment in microseconds UTC, against which times are judged.
    quick : bool
        Leave out what reads every page of the database and every file of the lake.
    """
    found = [*_keys(home.folder), *_room(home)]
    database = _file_of(home.url)
    if database is not None and not database.is_file():
        nothing = Finding(
            "database",
            "failure",
            f"there is no database {database.name}",
            next="import something, or correct url in lifeloop.toml",
        )
        return [nothing, *found]
    try:
        store = open_store(home.url, keys=home.folder, migrated=False)
    except LifeloopError as error:
        told = getattr(error, "what", str(error))
        hint = getattr(error, "hint", None) or "lifeloop restore the newest sound backup"
        return [Finding("database", "failure", told, next=hint), *found]
    try:
        of_store = store.check(now_us=clock(), quick=quick)
        found += of_store
        if all(f.severity == "ok" for f in of_store if f.check == "migration"):
            lake = partial(lake_of, store, home.scenario, home.folder)
            found += _guarded("lake", lambda: lake().check(quick=quick))
            found += _guarded("hashed ids", lambda: list(_hashed(store, home.folder)))
            found += _guarded("models", lambda: list(_models(store, home.folder)))
    finally:
        store.close()
    return sorted(found, key=lambda finding: ORDER.index(finding.severity))


def _guarded(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except LifeloopError as error:
        told = f"could not be looked at: {getattr(error, 'what', error)}"
        return [Finding(name, "failure", told, next=getattr(error, "hint", None))]
    except Exception as error:  # what lies in a damaged database may be anything
        return [Finding(name, "failure", f"could not be looked at: {error!r}")]


def _file_of(url: str) -> Path | None:
    return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None


def _keys(folder: Path) -> Iterator[Finding]:
    """Say who else may read the files that only their owner may."""
    path = folder / KEY
    if not path.is_file():
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield Finding(
            "key",
            "failure",
            f"others may read {KEY} (mode {mode:o}): they can tell who was erased and whose ids "
            "are hashed",
            next=f"chmod 600 {path}",
        )


def _hashed(store: Store, folder: Path) -> Iterator[Finding]:
    """Say whether the key is there by which addresses got their ids."""
    n = store.ids_with_prefix(PREFIX)
    if not n:
        return
    lost = Secret(folder).held() is None
    yield Finding(
        "hashed ids",
        "failure" if lost else "ok",
        f"{n:,} users have a hashed address as id, and the key is missing: the same address would "
        "get another id"
        if lost
        else f"the key of {n:,} hashed addresses is there",
        count=n,
        next=f"put {KEY} back where it was, or set LIFELOOP_KEY to what it held" if lost else None,
    )


def _room(home: Home) -> Iterator[Finding]:
    """Say how much room the disks of the project have left, measured by what it needs."""
    database = _file_of(home.url)
    size = 0
    if database is not None and database.is_file():
        wal = database.with_name(f"{database.name}-wal")
        size = database.stat().st_size + (wal.stat().st_size if wal.is_file() else 0)
    places = {"project": home.folder}
    if database is not None and database.parent.is_dir():
        places["database"] = database.parent
    lake = Path(home.scenario.storage.lake)
    if "://" not in home.scenario.storage.lake and (home.folder / lake).is_dir():
        places["lake"] = home.folder / lake
    devices: dict[int, tuple[str, Path]] = {}
    for name, place in places.items():
        devices.setdefault(place.stat().st_dev, (name, place))
    for name, place in devices.values():
        usage = shutil.disk_usage(place)
        low = usage.free < _LEAST
        tight = usage.free < max(2 * size, 4 * _LEAST)
        yield Finding(
            "free space",
            "failure" if low else "warning" if tight else "ok",
            f"{usage.free / 1e9:,.2f} GB free of {usage.total / 1e9:,.1f} GB where the {name} "
            f"lies, beside a database of {size / 1e9:,.2f} GB",
            count=usage.free,
            next="free space, or move the project: a backup and a lake need as much as the "
            "database, and a full disk refuses every event"
            if low or tight
            else None,
        )


def _models(store: Store, folder: Path) -> Iterator[Finding]:
    """Say whether the active bundle is there and whole."""
    active = store.active_bundle()
    if active is None:
        yield Finding("models", "note", "nothing was trained", next="lifeloop train")
        return
    try:
        load_bundle(folder / "bundles", active, verify=True)
    except LifeloopError as error:
        yield Finding(
            "models",
            "failure",
            f"the active bundle cannot be loaded: {getattr(error, 'what', error)}",
            examples=(active,),
            next="lifeloop models rollback, or lifeloop train",
        )
        return
    yield Finding("models", "ok", f"the active bundle {active} is whole")
