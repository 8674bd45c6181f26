"""Quarantine: refused rows tried again under the present settings; what passes leaves it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, cast

import polars as pl

from lifeloop.contracts import IngestReport, QuarantinedRow, Reason, Repair, Store
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
from lifeloop.events.fields import Kind, field_of
from lifeloop.events.numbers import checked_decimal, parse_number
from lifeloop.events.personal import pseudonymised
from lifeloop.events.records import EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA
from lifeloop.screening import with_crawlers

LIVE = "record"
"""Source of rows that came one by one and not from a file."""

NOTES = 20
"""Faults that a report tells in words."""

_ROWS = 10_000
_NUMBERS = ("value", "quantity", "unit_price", "rating", "price", "cost", "list_price", "stock")
_Passed = tuple[Repair, Any]


Change = Mapping[str, Any]
"""Field (ours, or a column of the file) -> its new value; None or "" takes the field away."""

Edit = Callable[[QuarantinedRow], Change | None]
"""What is changed in a row; None leaves the row in quarantine."""


def retry_quarantine(
    store: Store,
    *,
    options: ReadOptions,
    clock: Callable[[], int],
    key: bytes | None = None,
    edit: Edit | None = None,
    who: str = "",
) -> IngestReport:
    """Replay quarantined rows under the present rules; what passes is released, exactly once.

    Rows of a file get the ids that the file's import would have given them, so neither a second
    retry nor an import of the repaired file stores them twice. An edited row, or one that came
    live, gets an id of its own place in quarantine. A row is stored and released in one
    transaction, which also keeps who did it and what was changed (``Store.repairs``).

    Parameters
    ----------
    options : mapping (also ``value.decimal``, ``occurred_at.format``, ``type.view``) and zone
    key : of hashed ids, see ``import_file``
    edit : says per row what to change; without it every row is tried as it is
    who : by whom, for the audit
    """
    report = IngestReport()
    with store.bulk(), SeenRows() as seen:
        for rows in _batched(store.quarantined()):
            passed: dict[str, list[_Passed]] = {}
            for row in rows:
                change: Change | None = {} if edit is None else edit(row)
                if change is None:
                    continue
                edited, changes = changed(row, change, options.mapping)
                try:
                    record = _parsed(edited, options, touched=set(changes))
                except InputError as error:
                    lines = () if row.line is None else (row.line,)
                    reasons = (Reason(reason_of(error), 1, lines),)
                    told = (f"row {row.quarantine_id}: {error}",) if edit is not None else ()
                    report += IngestReport(rejected=1, reasons=reasons, notes=told[:NOTES])
                    continue
                own = bool(changes) or row.source == LIVE
                if own and isinstance(record, Event) and not record.event_id:
                    record = replace(record, event_id=_own_id(row))
                passed.setdefault(row.kind, []).append((Repair(row, who, changes), record))
            for kind, pairs in passed.items():
                report += _stored(store, kind, pairs, seen=seen, now_us=clock(), key=key)
    return replace(report, notes=report.notes[:NOTES])


def changed(
    row: QuarantinedRow, change: Change, mapping: Mapping[str, str]
) -> tuple[QuarantinedRow, dict[str, tuple[Any, Any]]]:
    """Return a row with its change, and field -> (before, after) of what is different.

    A field of ours finds the column that stands for it in the file, by name or by ``mapping``.
    """
    raw = dict(row.raw)
    told: dict[str, tuple[Any, Any]] = {}
    for name, value in change.items():
        theirs = mapping.get(name)
        columns = [theirs] if theirs in raw and theirs is not None else _columns(row, name)
        column = columns[0] if columns else name
        before = raw.get(column)
        after = None if value in (None, "") else value
        if before == after:
            continue
        told[column] = (before, after)
        for other in columns:
            raw.pop(other)
        if after is not None:
            raw[column] = after
    return replace(row, raw=raw), told


def chosen(row: QuarantinedRow, where: Mapping[str, str]) -> bool:
    """Return whether a row is meant: by id, reason, source, kind, line, or a column of its own."""
    own = {
        "id": row.quarantine_id,
        "reason": row.reason,
        "source": row.source,
        "kind": row.kind,
        "line": row.line,
    }
    for name, value in where.items():
        columns = () if name in own else _columns(row, name)
        held = own[name] if name in own else row.raw.get(columns[0]) if columns else None
        if str(held) != value:
            return False
    return True


def _columns(row: QuarantinedRow, name: str) -> list[str]:
    """Return the columns of a row that stand for a field: of that name, else of a synonym."""
    if name in row.raw:
        return [name]
    field = field_of(name, row.kind)
    found = [(column, field_of(column, row.kind)) for column in row.raw]
    return [c for c, known in found if field is not None and known and known[0] == field[0]]


def drop_quarantined(store: Store, where: Mapping[str, str], *, who: str, at_us: int) -> int:
    """Take rows that are no data out of quarantine; return how many. It is audited."""
    rows = [row for row in store.quarantined() if chosen(row, where)]
    for batch in _batched(rows):
        store.settle([Repair(row, who) for row in batch], outcome="dropped", at_us=at_us)
    return len(rows)


def fault_of(row: QuarantinedRow, options: ReadOptions) -> str | None:
    """Return what is wrong with a row under the present rules, None where it would pass now."""
    try:
        _parsed(row, options, touched=set())
    except InputError as error:
        return str(error)
    return None


def reason_of(error: InputError) -> str:
    """Return the one word of a refusal."""
    return cast(str, getattr(error, "reason", None) or "bad_row")


def _batched(rows: Sequence[QuarantinedRow]) -> Iterator[tuple[QuarantinedRow, ...]]:
    for at in range(0, len(rows), _ROWS):
        yield tuple(rows[at : at + _ROWS])


def _parsed(row: QuarantinedRow, options: ReadOptions, *, touched: set[str]) -> Event | Item | User:
    raw = _repaired(row, options, touched)
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


def _repaired(row: QuarantinedRow, options: ReadOptions, touched: set[str]) -> dict[str, Any]:
    """Return the row's values under our names, read the way the mapping says.

    ``touched`` are the columns that somebody has edited.

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
    if row.reason == "ambiguous_number" and not decimals and not _a_number(touched, row.kind):
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


def _a_number(columns: set[str], kind: Kind) -> bool:
    found = [field_of(column, kind) for column in columns]
    return any(field is not None and field[0] in _NUMBERS for field in found)


def _own_id(row: QuarantinedRow) -> str:
    """Return the event id of a row by its place in quarantine, which is never given twice."""
    place = f"{row.quarantine_id} {row.received_us} {row.source} {row.line}"
    return blake2b(f"quarantine {place}".encode("utf-8", "replace"), digest_size=16).hexdigest()


def _stored(
    store: Store,
    kind: str,
    pairs: list[_Passed],
    *,
    seen: SeenRows,
    now_us: int,
    key: bytes | None,
) -> IngestReport:
    if kind == "event":  # in the order in which they are named below
        sources = list(dict.fromkeys(record.source for _, record in pairs))
        pairs = [pair for source in sources for pair in pairs if pair[1].source == source]
    repairs = [repair for repair, _ in pairs]
    records = [record for _, record in pairs]
    if kind == "item":
        items = frame_of(records, ITEM_SCHEMA)
        return _counted(store.put_items(items, received_us=now_us, repairs=repairs))
    if kind == "user":
        users = frame_of(records, USER_SCHEMA)
        users = users if key is None else pseudonymised(users, key=key)
        return _counted(store.put_users(users, received_us=now_us, repairs=repairs))
    frame = frame_of(records, EVENT_SCHEMA)
    frame = frame if key is None else pseudonymised(frame, key=key)
    named = [_named(part, seen) for part in frame.partition_by("source", maintain_order=True)]
    timed = event_times(with_crawlers(pl.concat(named)), received_us=now_us)
    report = store.append(timed, received_us=now_us, repairs=repairs)
    return _counted(report)


def _counted(report: IngestReport) -> IngestReport:
    """Return the counts, without what became of each row."""
    return replace(report, event_ids=(), outcomes=())


def _named(events: pl.DataFrame, seen: SeenRows) -> pl.DataFrame:
    source = events["source"][0]
    if source is None or source == LIVE:
        return events
    return assign_event_ids(events, source=source, seen=seen)
