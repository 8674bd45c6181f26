"""Items and users one at a time: read, replace, merge, remove, each only if it is as expected."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal

from lifeloop.contracts import IngestReport, Reason, Store
from lifeloop.errors import InputError, UnknownId
from lifeloop.events import frame_of, parse_item, parse_user
from lifeloop.events.records import ITEM_SCHEMA, USER_SCHEMA, Item, User
from lifeloop.serve.problems import Problem

REMOVED = "lifeloop_removed"
"""Attribute of an item that was deleted: events still name it, nothing shows it."""

_LOCK_S = 10.0

Name = Literal["items", "users"]
Record = Item | User


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of record is read, parsed and stored."""

    name: Name
    key: str
    schema: Mapping[str, Any]
    parse: Callable[..., Record]

    def read(self, store: Store, ids: Sequence[str]) -> list[Record | None]:
        """Return the records, None where there is none or it was removed."""
        found: Sequence[Record | None]
        found = store.items(ids) if self.name == "items" else store.users(ids)
        return [None if r is None or r.attributes.get(REMOVED) else r for r in found]

    def put(self, store: Store, records: Sequence[Record], *, at_us: int) -> IngestReport:
        """Store the records."""
        frame = frame_of(records, self.schema)
        put = store.put_items if self.name == "items" else store.put_users
        return put(frame, received_us=at_us)


ITEMS = Kind("items", "item_id", ITEM_SCHEMA, parse_item)
USERS = Kind("users", "user_id", USER_SCHEMA, parse_user)


def plain(record: Record) -> dict[str, Any]:
    """Return a record as the JSON that would store it again; what is not there is left out."""
    told: dict[str, Any] = {}
    for spec in fields(record):
        value = getattr(record, spec.name)
        if value is None or value in ((), {}):
            continue
        if spec.name.endswith("_us"):
            name = spec.name.removesuffix("_us")
            told["created_at" if name == "created" else name] = _iso(value)
        else:
            told[spec.name] = list(value) if isinstance(value, tuple) else value
    return told


def etag(record: Record) -> str:
    """Return the tag of this content: equal content has an equal tag."""
    text = json.dumps(plain(record), sort_keys=True, ensure_ascii=False, default=dict)
    return f'"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"'


def get(store: Store, kind: Kind, record_id: str) -> Record:
    """Return one record. Raises ``UnknownId``."""
    (found,) = kind.read(store, [record_id])
    if found is None:
        raise UnknownId(
            f"there is no such {kind.name.removesuffix('s')}",
            got=record_id,
            hint=f"PUT /v1/{kind.name}/{{id}} makes it",
        )
    return found


def change(
    store: Store,
    kind: Kind,
    record_id: str,
    *,
    how: Callable[[Record | None], Mapping[str, Any]],
    if_match: str | None,
    if_none_match: str | None,
    zone: str,
    at_us: int,
) -> tuple[Record, bool]:
    """Replace one record by what ``how`` makes of it; return it and whether it is new.

    Raises
    ------
    Problem
        412 where the record is not the one that ``if_match`` names.
    InputError
        What ``how`` made is no record.
    """
    with _alone(store, kind):
        (before,) = kind.read(store, [record_id])
        _expected(before, if_match=if_match, if_none_match=if_none_match)
        record = kind.parse({**how(before), kind.key: record_id}, zone=zone)
        _stored(kind.put(store, [record], at_us=at_us))
        (after,) = kind.read(store, [record_id])
    return after or record, before is None


def remove_item(store: Store, item_id: str, *, if_match: str | None, at_us: int) -> None:
    """Take an item out of everything that is shown, at once. Raises ``UnknownId``."""
    with _alone(store, ITEMS):
        before = get(store, ITEMS, item_id)
        _expected(before, if_match=if_match, if_none_match=None)
        _stored(ITEMS.put(store, [_removed(before)], at_us=at_us))


def remove_items(store: Store, item_ids: Sequence[str], *, at_us: int) -> dict[str, Any]:
    """Take many items out; return how many, which were not there, and a result per id."""
    with _alone(store, ITEMS):
        found = ITEMS.read(store, item_ids)
        there = [record for record in found if record is not None]
        if there:
            _stored(ITEMS.put(store, [_removed(r) for r in there], at_us=at_us))
    missing = [i for i, record in zip(item_ids, found, strict=True) if record is None]
    results = [
        {"item_id": i, "status": "missing" if record is None else "removed"}
        for i, record in zip(item_ids, found, strict=True)
    ]
    removed = len({r.item_id for r in there if isinstance(r, Item)})
    return {"removed": removed, "missing": missing, "results": results}


def put_many(
    store: Store,
    kind: Kind,
    rows: Sequence[Any],
    *,
    merge: bool,
    zone: str,
    at_us: int,
) -> IngestReport:
    """Replace (or merge into) many records; ``outcomes`` tells what became of each row."""
    records: list[Record] = []
    refused: dict[int, str] = {}
    notes: dict[str, None] = {}
    with _alone(store, kind):
        if merge:
            rows = _merged(store, kind, rows)
        for at, row in enumerate(rows):
            try:
                records.append(kind.parse(row, zone=zone))
            except InputError as error:
                refused[at] = str(getattr(error, "reason", "bad_row"))
                notes[f"row {at}: {error}"] = None
        report = kind.put(store, records, at_us=at_us) if records else IngestReport()
    told = iter(report.outcomes)
    outcomes = [refused[at] if at in refused else next(told) for at in range(len(rows))]
    places: dict[str, list[int]] = {}
    for at, outcome in enumerate(outcomes):
        if outcome not in ("accepted", "duplicate"):
            places.setdefault(outcome, []).append(at)  # the store counted those that it was given
    return replace(
        report,
        rejected=sum(len(at) for at in places.values()),
        reasons=tuple(Reason(why, len(at), tuple(at[:20])) for why, at in places.items()),
        notes=tuple(notes)[:20],
        outcomes=tuple(outcomes),
    )


def merged(before: Record | None, patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with a JSON merge patch (RFC 7396) applied: null removes."""
    return _merge({} if before is None else plain(before), patch)


def _merge(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(old)
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        elif isinstance(value, Mapping):
            held = made.get(name)
            made[name] = _merge(held if isinstance(held, Mapping) else {}, value)
        else:
            made[name] = value
    return made


def _merged(store: Store, kind: Kind, rows: Sequence[Any]) -> list[Any]:
    named = [r for r in rows if isinstance(r, Mapping) and isinstance(r.get(kind.key), str)]
    ids = list(dict.fromkeys(str(row[kind.key]) for row in named))
    held = {i: plain(r) for i, r in zip(ids, kind.read(store, ids), strict=True) if r is not None}
    made: list[Any] = []
    for row in rows:
        if isinstance(row, Mapping) and isinstance(row.get(kind.key), str):
            record_id = str(row[kind.key])
            held[record_id] = _merge(held.get(record_id, {}), row)
            made.append(held[record_id])
        else:
            made.append(row)
    return made


@contextmanager
def _alone(store: Store, kind: Kind) -> Iterator[None]:
    """Let nobody else change records of this kind one by one meanwhile."""
    with store.exclusive(kind.name, wait_s=_LOCK_S) as held:
        if not held:
            raise Problem(
                503,
                "others were changing records for too long",
                hint="repeat the request",
                headers={"retry-after": "1"},
                error="busy",
            )
        yield


def _expected(before: Record | None, *, if_match: str | None, if_none_match: str | None) -> None:
    if if_match is not None and not (before is not None and _matches(if_match, etag(before))):
        raise _changed("it is not the version that If-Match names", before)
    if if_none_match is None or before is None:
        return
    if _matches(if_none_match, etag(before)):
        raise _changed("it exists already", before)


def _matches(header: str, tag: str) -> bool:
    tags = [part.strip().removeprefix("W/") for part in header.split(",")]
    return "*" in tags or tag in tags


def _changed(why: str, before: Record | None) -> Problem:
    return Problem(
        412,
        why,
        hint="GET it, look at what changed, and send its ETag",
        headers={} if before is None else {"etag": etag(before)},
        error="changed-meanwhile",
    )


def _removed(record: Record) -> Record:
    if not isinstance(record, Item):
        raise InputError("only items are removed this way", got=type(record).__name__)
    attributes = {**record.attributes, REMOVED: True}
    return replace(record, available_until_us=0, attributes=attributes)


def _stored(report: IngestReport) -> None:
    if report.rejected:
        why = ", ".join(reason.reason for reason in report.reasons)
        raise InputError("the record was refused", got=why, hint="shorten or correct the id")


def _iso(us: int) -> str:
    at = datetime.fromtimestamp(us // 1_000_000, tz=UTC).replace(microsecond=us % 1_000_000)
    return at.isoformat().replace("+00:00", "Z")
