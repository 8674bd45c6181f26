"""Quarantine: refused rows tried again under the present settings; what passes leaves it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import polars as pl

from lifeloop.contracts import IngestReport, QuarantinedRow, Reason, Store
from lifeloop.errors import InputError
from lifeloop.events import (
    Event,
    Item,
    ReadOptions,
    SeenRows,
    User,
    assign_event_ids,
    event_times,
    frame_of,
    parse_event,
    parse_item,
    parse_time,
    parse_user,
)
from lifeloop.events.numbers import checked_decimal, parse_number
from lifeloop.events.personal import pseudonymised
from lifeloop.events.records import EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA
from lifeloop.moment import Clock
from lifeloop.screening import with_crawlers

LIVE = "record"
"""Source of rows that came one by one and not from a file."""

_ROWS = 10_000


def retry_quarantine(
    store: Store,
    *,
    options: ReadOptions,
    clock: Clock,
    key: bytes | None = None,
) -> IngestReport:
    """Replay every quarantined row under the present rules; what passes is released.

    Rows of a file get the ids that the file's import would have given them, so neither a second
    retry nor an import of the repaired file stores them twice.

    Parameters
    ----------
    options : mapping (also ``value.decimal``, ``occurred_at.format``, ``type.view``) and zone
    key : of hashed ids, see ``import_file``
    """
    report = IngestReport()
    with store.bulk(), SeenRows() as seen:
        for rows in _batched(store.quarantined()):
            now = clock()
            passed: dict[str, list[tuple[QuarantinedRow, Any]]] = {}
            for row in rows:
                try:
                    record = _parsed(row, options)
                except InputError as error:
                    lines = () if row.line is None else (row.line,)
                    reasons = (Reason(reason_of(error), 1, lines),)
                    report += IngestReport(rejected=1, reasons=reasons)
                    continue
                passed.setdefault(row.kind, []).append((row, record))
            for kind, pairs in passed.items():
                report += _stored(store, kind, pairs, seen=seen, now_us=now, key=key)
                ids = [r.quarantine_id for r, _ in pairs if r.quarantine_id is not None]
                store.release(ids)
    return report


def reason_of(error: InputError) -> str:
    """Return the one word of a refusal."""
    return cast(str, getattr(error, "reason", None) or "bad_row")


def _batched(rows: Sequence[QuarantinedRow]) -> Iterator[tuple[QuarantinedRow, ...]]:
    for at in range(0, len(rows), _ROWS):
        yield tuple(rows[at : at + _ROWS])


def _parsed(row: QuarantinedRow, options: ReadOptions) -> Event | Item | User:
    raw = _repaired(row, options)
    if row.kind == "item":
        return parse_item(raw, zone=options.zone)
    if row.kind == "user":
        return parse_user(raw, zone=options.zone)
    event = parse_event(raw, zone=options.zone)
    if event.occurred_us is None and row.source == LIVE:
        event = replace(event, occurred_us=row.received_us)  # it happened when it came
    if row.source != LIVE and event.currency is None:
        event = replace(event, currency=options.currency)
    return replace(event, source=row.source or None)


def _repaired(row: QuarantinedRow, options: ReadOptions) -> dict[str, Any]:
    """Return the row's values under our names, read the way the mapping says.

    Raises
    ------
    InputError
        A number that can be read two ways, and no decimal mark says which.
    """
    ours = {theirs: name for name, theirs in options.mapping.items() if "." not in name}
    raw = {ours.get(name, name): value for name, value in row.raw.items()}
    decimals = {
        name.removesuffix(".decimal"): checked_decimal(mark)
        for name, mark in options.mapping.items()
        if name.endswith(".decimal")
    }
    if row.reason == "ambiguous_number" and not decimals:
        error = InputError("a number can be read two ways", hint="--map value.decimal=,")
        vars(error)["reason"] = row.reason
        raise error
    for name, mark in decimals.items():
        if isinstance(raw.get(name), str):
            number = parse_number(raw[name], decimal=mark)
            raw[name] = number if isinstance(number, float) else raw[name]
    for name, theirs in options.mapping.items():
        field, _, kind = name.partition(".")
        if kind == "format" and isinstance(raw.get(field), str):
            raw[f"{field.removesuffix('_at')}_us"] = parse_time(
                raw.pop(field), zone=options.zone, format=theirs
            )
        elif field == "type" and kind and raw.get("type") == theirs:
            raw["type"] = kind
    return raw


def _stored(
    store: Store,
    kind: str,
    pairs: list[tuple[QuarantinedRow, Any]],
    *,
    seen: SeenRows,
    now_us: int,
    key: bytes | None,
) -> IngestReport:
    records = [record for _, record in pairs]
    if kind == "item":
        return store.put_items(frame_of(records, ITEM_SCHEMA), received_us=now_us)
    if kind == "user":
        users = frame_of(records, USER_SCHEMA)
        users = users if key is None else pseudonymised(users, key=key)
        return store.put_users(users, received_us=now_us)
    frame = frame_of(records, EVENT_SCHEMA)
    frame = frame if key is None else pseudonymised(frame, key=key)
    named = [_named(part, seen) for part in frame.partition_by("source", maintain_order=True)]
    timed = event_times(with_crawlers(pl.concat(named)), received_us=now_us)
    return replace(store.append(timed, received_us=now_us), event_ids=(), outcomes=())


def _named(events: pl.DataFrame, seen: SeenRows) -> pl.DataFrame:
    source = events["source"][0]
    if source is None or source == LIVE:
        return events
    return assign_event_ids(events, source=source, seen=seen)
