"""Exports of other systems: looked at (a dry run) or imported, file by file."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from lifeloop.config import Scenario
from lifeloop.events import read
from lifeloop.events.datasets.dataset import Dataset, Part
from lifeloop.events.fields import Kind
from lifeloop.events.personal import emails
from lifeloop.events.presets import read_preset

SHOWN = 10
SAMPLE = 5_000

_WANTED: dict[Kind, dict[str, str]] = {
    "event": {
        "occurred_us": "no time: these events feed the models, not the lifecycle",
        "item_id": "no item: nothing can be recommended from these events",
        "value": "no money: orders count, revenue and value stay unknown",
        "order_id": "no order id: lines of one moment are taken for one order",
    },
    "item": {
        "title": "no title: items can be recommended by use only, and shown by id only",
        "categories": "no category: no diversity or rules by category",
        "price": "no price: no margin and no price features",
    },
    "user": {
        "created_us": "no sign-up time: a user begins with the first event",
        "attributes": "no attributes: no segments",
    },
}


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of a file as they would be stored, and what is missing.

    ``rows`` are at most ten; ``seen``, ``refused`` and ``types`` are of the first ``SAMPLE`` rows.
    """

    kind: Kind
    file: str
    seen: int
    rows: tuple[dict[str, Any], ...]
    refused: dict[str, int]
    types: dict[str, int]
    unknown_types: tuple[str, ...]
    missing: dict[str, str]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the preview as plain JSON data."""
        return {
            "kind": self.kind,
            "file": self.file,
            "rows_looked_at": self.seen,
            "rows": list(self.rows),
            "refused": self.refused,
            "event_types": self.types,
            "unknown_event_types": list(self.unknown_types),
            "missing": self.missing,
            "notes": list(self.notes),
        }


@contextmanager
def opened_preset(
    name: str, paths: list[Path], *, scenario: Scenario, zone: str | None = None
) -> Iterator[Dataset]:
    """Yield the files of an export in order; what had to be rewritten is removed afterwards.

    Raises
    ------
    InputError
        See ``lifeloop.events.presets.read_preset``.
    """
    with tempfile.TemporaryDirectory(prefix="lifeloop-preset-") as work:
        yield read_preset(
            name,
            paths,
            work=Path(work),
            zone=zone or scenario.locale.zone,
            currency=scenario.locale.currency,
        )


def preview(part: Part, *, scenario: Scenario) -> Preview:
    """Return what an import of a file would store, from its first rows; stores nothing."""
    small = replace(part.options, batch_rows=SAMPLE)
    frames: list[pl.DataFrame] = []
    refused: dict[str, int] = {}
    notes: dict[str, None] = {}
    seen = 0
    for batch in read(part.path, part.kind, options=small):
        frames.append(batch.frame)
        for row in batch.rejected:
            refused[row.reason] = refused.get(row.reason, 0) + 1
        notes |= dict.fromkeys(batch.notes)
        seen += batch.frame.height + len(batch.rejected)
        if seen >= SAMPLE:
            break
    frame = pl.concat(frames) if frames else pl.DataFrame()
    types: dict[str, int] = {}
    if part.kind == "event" and frame.height:
        types = dict(frame["type"].value_counts(sort=True).iter_rows())
    if part.kind != "item" and frame.height and (n := int(emails(frame["user_id"]).sum())):
        notes[f"{n} ids are e-mail addresses: --hash-emails stores a keyed hash instead"] = None
    return Preview(
        kind=part.kind,
        file=part.path.name,
        seen=seen,
        rows=tuple(_shown(row) for row in frame.head(SHOWN).iter_rows(named=True)),
        refused=refused,
        types=types,
        unknown_types=tuple(name for name in types if name not in scenario.events),
        missing=_missing(frame, part.kind, types, scenario),
        notes=tuple(notes),
    )


def _missing(
    frame: pl.DataFrame, kind: Kind, types: dict[str, int], scenario: Scenario
) -> dict[str, str]:
    if not frame.height:
        return {"rows": "no row of the first ones can be stored"}
    absent = {n: why for n, why in _WANTED[kind].items() if frame[n].null_count() == frame.height}
    ordered = set(types) & {*scenario.order_types, *scenario.refund_types}
    if kind == "event" and not ordered:
        absent = {n: why for n, why in absent.items() if n not in ("value", "order_id")}
        if scenario.order_types:
            absent["orders"] = f"no {' or '.join(scenario.order_types)}: no money, no loyal users"
    return absent


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    kept = {n: v for n, v in row.items() if v is not None and n not in ("source", "event_id")}
    return {n: _told(v) if n.endswith("_us") else v for n, v in kept.items()}


def _told(t_us: int) -> str:
    return datetime.fromtimestamp(t_us // 1_000_000, tz=UTC).isoformat()
