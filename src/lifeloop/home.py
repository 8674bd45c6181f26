"""Where one project lives: its folder, its database and its scenario."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lifeloop.config import Scenario
from lifeloop.errors import ConfigError, InputError
from lifeloop.store.secret import Secret, derived

SETTINGS_FILE = "lifeloop.toml"
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

    It is derived from ``project.key`` in the folder, or ``LIFELOOP_KEY``: keep that apart from
    the backups, and safe; without it the same address gets another id.
    """
    return derived(Secret(folder).made(), "ids")


def _folder_of(url: str) -> Path:
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///").split("?")[0]).parent
    return Path.cwd()


def _plain(name: str) -> str:
    kept = "".join(c for c in name if c.isprintable() and c not in '"\\')
    return kept or "shop"
