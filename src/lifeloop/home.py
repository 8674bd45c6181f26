"""Where one project lives: its folder, its database and its scenario."""

import os
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lifeloop.config import Scenario
from lifeloop.errors import ConfigError, InputError

SETTINGS_FILE = "lifeloop.toml"
KEY_FILE = "keys/ids.key"
DATABASE_FILE = "lifeloop.db"
DEFAULT_SCENARIO = "ecommerce"


@dataclass(frozen=True, slots=True)
class Home:
    """A project: ``folder`` holds ``lifeloop.toml``, the database, bundles and the cache."""

    folder: Path
    url: str
    scenario: Scenario

    @classmethod
    def of(
        cls, where: str | Path, *, scenario: str | Path | Mapping[str, Any] | Scenario | None
    ) -> Self:
        """Return the project at a folder or database URL.

        Raises
        ------
        ConfigError
            The settings are refused, or a folder that does not exist was named without a
            scenario (a mistyped folder must not become an empty project).
        """
        text = str(where)
        if "://" in text:
            folder = _folder_of(text)
            return cls(folder, text, Scenario.load(scenario or DEFAULT_SCENARIO))
        folder = Path(where)
        settings = folder / SETTINGS_FILE
        if scenario is None and not settings.is_file():
            raise ConfigError(
                "this is not a lifeloop project",
                [f"{str(folder)!r} has no {SETTINGS_FILE}"],
                hint=f"lifeloop init {folder} --scenario {DEFAULT_SCENARIO}",
            )
        chosen = Scenario.load(scenario if scenario is not None else settings)
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, chosen.url or f"sqlite:///{folder / DATABASE_FILE}", chosen)


def init(folder: Path, *, scenario: str, zone: str | None = None, force: bool = False) -> Path:
    """Write ``lifeloop.toml`` into a folder; an existing one is kept unless forced.

    Returns
    -------
    Path
        The file written.
    """
    locale = Scenario.load(scenario).locale
    path = folder / SETTINGS_FILE
    if path.exists() and not force:
        raise InputError(
            f"{path} exists already",
            hint="edit it, or write it anew with --force",
        )
    folder.mkdir(parents=True, exist_ok=True)
    text = f"""\
# What this business is. Everything not said here is as in the scenario {scenario!r};
# docs/settings.md lists every setting, and a misspelt one is refused with the nearest name.
name = "{_plain(folder.resolve().name)}"
extends = "{scenario}"

[locale]
currency = "{locale.currency}"
zone = "{zone or locale.zone}"
week_start = "{locale.week_start}"

# [events.wishlist]          # a type of event of your own
# weight = 3.0               # evidence of liking, beside view 1 and purchase 8
# verb = "wished for"

[recommend]
# repeat_window_days = 30    # days before something bought may be recommended again
"""
    tomllib.loads(text)
    path.write_text(text, encoding="utf-8")
    return path


def project_key(folder: Path) -> bytes:
    """Return the project's key of hashed ids, made on first use; whoever has it can tell ids.

    Keep ``keys/ids.key`` with the backup: without it the same address gets another id.
    """
    path = folder / KEY_FILE
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)  # the first of two processes wins, the other one reads its key
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_bytes()


def _folder_of(url: str) -> Path:
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///").split("?")[0]).parent
    return Path.cwd()


def _plain(name: str) -> str:
    kept = "".join(c for c in name if c.isprintable() and c not in '"\\')
    return kept or "shop"
