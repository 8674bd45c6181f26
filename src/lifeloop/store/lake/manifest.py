"""What the lake holds: the list of its files, swapped as a whole. A file that is not on it is not
in the lake."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from lifeloop.errors import SchemaTooNew, StoreError
from lifeloop.events.records import ITEM_SCHEMA, STORED_EVENT_SCHEMA, USER_SCHEMA
from lifeloop.store.lake.files import Files

SCHEMA = 1
"""Rises when an older lifeloop would misread the files; a column that is added changes nothing."""

NAME = "manifest.json"

TABLES: dict[str, dict[str, Any]] = {
    "events": dict(STORED_EVENT_SCHEMA),
    "users": {"seq": pl.Int64, **USER_SCHEMA},
    "items": {"seq": pl.Int64, **ITEM_SCHEMA, "categories": pl.String},
    "links": {"seq": pl.Int64, "anonymous_id": pl.String, "user_id": pl.String},
    "superseded": {"seq": pl.Int64, "by_seq": pl.Int64},
}
"""The columns of each table; a file that lacks one was written before it and holds null."""


@dataclass(frozen=True, slots=True)
class Part:
    """One immutable file: rows of one table (events: of one local day)."""

    table: str
    path: str
    day: str | None
    rows: int
    first: int
    last: int
    hash: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The lake at one moment: all rows up to ``seq``, less all removals up to ``removal``."""

    zone: str
    epoch: str
    seq: int = 0
    removal: int = 0
    generation: int = 0
    parts: tuple[Part, ...] = ()
    retired: tuple[str, ...] = field(default=())

    @classmethod
    def read(cls, files: Files) -> "Manifest | None":
        """Return the manifest of a lake, None where there is no lake yet."""
        data = files.read(NAME)
        if data is None:
            return None
        try:
            raw: Mapping[str, Any] = json.loads(data)
            if raw["schema"] > SCHEMA:
                raise SchemaTooNew(
                    "the lake was written by a newer lifeloop",
                    got=f"schema {raw['schema']} in {files.url}",
                    allowed=f"schema up to {SCHEMA}",
                    hint="install the newer lifeloop, or name another lake",
                )
            known = {name: raw[name] for name in raw if name != "schema"}
            known["parts"] = tuple(Part(**part) for part in raw["parts"])
            known["retired"] = tuple(raw["retired"])
            return cls(**known)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"the manifest of the lake is damaged ({error!r})",
                got=f"{NAME} in {files.url}",
                hint="write the lake anew: lifeloop lake rebuild",
            ) from None

    def write(self, files: Files) -> None:
        """Make this the lake."""
        body = json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, sort_keys=True)
        files.write(NAME, body.encode())
