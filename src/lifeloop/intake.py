"""The way in: a file or one record -> parsed, timed, stored; what is refused is quarantined."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from lifeloop import import_log
from lifeloop.config import Scenario
from lifeloop.contracts import (
    IngestReport,
    Progress,
    QuarantinedRow,
    Reason,
    Store,
    silent,
)
from lifeloop.errors import InputError, LifeloopError, NothingStored
from lifeloop.events import (
    Batch,
    Event,
    ReadOptions,
    detect_pair,
    event_times,
    frame_of,
    looks_transposed,
    parse_event,
    read,
    read_pair,
)
from lifeloop.events.personal import pseudonymised, pseudonymised_raw
from lifeloop.events.records import EVENT_SCHEMA
from lifeloop.moment import Clock
from lifeloop.repair import reason_of
from lifeloop.screening import with_crawlers
from lifeloop.watch import FileWatch, TypeLimit, addresses_in

Kind = Literal["event", "item", "user"]

KINDS: tuple[Kind, ...] = ("user", "item", "event")

LINES_SHOWN = 20


def read_options(
    scenario: Scenario,
    *,
    map: Mapping[str, str] | None = None,
    zone: str | None = None,
    source: str = "import",
    type: str | None = None,
) -> ReadOptions:
    """Return how a file is read in this business: its zone and currency where the file is silent.

    ``map`` is our column -> the file's column or position; ``type`` the type of all rows of a
    file that does not say it; see ``ReadOptions`` and docs/decisions/0002-import-source.md.
    """
    return ReadOptions(
        mapping=dict(map or {}),
        zone=zone or scenario.locale.zone,
        source=source,
        default_type=type,
        currency=scenario.locale.currency,
    )


def import_file(
    store: Store,
    path: Path,
    kind: Kind,
    *,
    options: ReadOptions,
    scenario: Scenario,
    clock: Clock,
    progress: Progress = silent,
    key: bytes | None = None,
) -> IngestReport:
    """Read one file into the store, in batches of bounded memory.

    With a ``key``, e-mail addresses as ids are stored as their keyed hash.

    Returns
    -------
    IngestReport
        accepted + duplicate + rejected = rows of the file. Refused rows are in quarantine.

    Raises
    ------
    UnreadableFile
        Corrupt or truncated input; complete rows before the break are stored, and the report
        so far is the error's ``report``.
    NothingStored
        Not one row of the file is stored; the message lists the reasons.
    InputError
        Interactions given item x user.
    """
    batches = read(path, kind, options=options)
    return _import(
        store,
        batches,
        kind,
        name=path.name,
        scenario=scenario,
        clock=clock,
        progress=progress,
        key=key,
    )


def import_pair(
    store: Store,
    users: Path,
    items: Path,
    *,
    row_aligned: bool,
    scenario: Scenario,
    clock: Clock,
    progress: Progress = silent,
) -> dict[str, IngestReport]:
    """Import ``user_data.csv`` and ``item_data.csv`` of a textbook: users, items and ratings.

    Raises
    ------
    InputError
        The files are no pair, or lie side by side without ``row_aligned`` confirming it.
    """
    plan = detect_pair(users, items)
    parts = read_pair(plan, confirmed=row_aligned, options=read_options(scenario))
    reports = {}
    for kind, path, batches in zip(KINDS, (users, items, users), parts, strict=True):
        reports[f"{kind}s"] = _import(
            store,
            batches,
            kind,
            name=path.name,
            scenario=scenario,
            clock=clock,
            progress=progress,
        )
    reports["events"] += IngestReport(notes=(plan.message,))
    return reports


def _import(
    store: Store,
    batches: Iterator[Batch],
    kind: Kind,
    *,
    name: str,
    scenario: Scenario,
    clock: Clock,
    progress: Progress,
    key: bytes | None = None,
) -> IngestReport:
    report = IngestReport()
    step = f"import {kind}s from {name}"
    with store.bulk(), FileWatch(store, scenario, kind=kind) as watch:
        try:
            for number, batch in enumerate(batches):
                if key is not None:
                    batch = _without_addresses(batch, key)
                if kind == "event" and number == 0:
                    _refuse_transposed(store, batch.frame)
                report += watch.see(batch)
                stored = _store_batch(store, batch, kind, received_us=clock())
                # One id per row of a file of any length would outgrow memory.
                report += replace(stored, event_ids=(), outcomes=())
                progress(step, batch.bytes_read, batch.bytes_total or None)
        except LifeloopError as error:
            vars(error)["report"] = report
            if name not in str(error):
                error.args = (f"{name}: {error}",)
            raise
        report += IngestReport(notes=watch.notes())
    import_log.keep(store, report, kind=kind, file=name, at_us=clock())
    if report.accepted + report.duplicate == 0:
        listed = ", ".join(f"{r.reason} ({r.count})" for r in report.reasons) or "no rows"
        failure = NothingStored(
            f"not one row of {name} was stored: {listed}",
            allowed="a file with at least one usable row",
            hint="see the lines with `lifeloop quarantine list`, or name the columns with --map",
        )
        vars(failure)["report"] = report
        raise failure
    return report


def record(
    store: Store,
    event: Event | Mapping[str, Any],
    *,
    scenario: Scenario,
    received_us: int,
    key: bytes | None = None,
    types: TypeLimit | None = None,
) -> IngestReport:
    """Store one live event; a refused one is quarantined and reported, not raised."""
    try:
        parsed = _let_in(parse_event(event, zone=scenario.locale.zone), types)
    except InputError as error:
        raw = dict(event) if isinstance(event, Mapping) else {"event": repr(event)}
        raw = raw if key is None else pseudonymised_raw(raw, key=key)
        reason = reason_of(error)
        store.quarantine(
            [QuarantinedRow(kind="event", reason=reason, raw=raw, source="record")],
            received_us=received_us,
        )
        return IngestReport(rejected=1, reasons=(Reason(reason, 1),), notes=(str(error),))
    if parsed.occurred_us is None:
        # A live event happens when it arrives; only files may hold events without a time.
        parsed = _at(parsed, received_us)
    frame = event_times(frame_of([parsed], EVENT_SCHEMA), received_us=received_us)
    return _append(store, frame, received_us=received_us, key=key)


def record_many(
    store: Store,
    events: Sequence[Any],
    *,
    scenario: Scenario,
    received_us: int,
    key: bytes | None = None,
    types: TypeLimit | None = None,
) -> IngestReport:
    """Store live events as they came; ``outcomes`` tells each, refused ones are quarantined."""
    parsed: list[Event] = []
    refused: dict[int, QuarantinedRow] = {}
    notes: dict[str, None] = {}
    for at, raw in enumerate(events):
        try:
            event = _let_in(parse_event(raw, zone=scenario.locale.zone), types)
        except InputError as error:
            row = dict(raw) if isinstance(raw, Mapping) else {"event": repr(raw)}
            row = row if key is None else pseudonymised_raw(row, key=key)
            refused[at] = QuarantinedRow("event", reason_of(error), row, source="record", line=at)
            notes[str(error)] = None
            continue
        parsed.append(event)
    report = IngestReport()
    if refused:
        store.quarantine(list(refused.values()), received_us=received_us)
        reasons = Counter(row.reason for row in refused.values())
        report = IngestReport(
            rejected=len(refused),
            reasons=tuple(
                Reason(why, n, tuple(at for at, r in refused.items() if r.reason == why)[:20])
                for why, n in reasons.items()
            ),
            notes=tuple(notes)[:LINES_SHOWN],
        )
    if parsed:
        frame = frame_of(parsed, EVENT_SCHEMA)
        # a live event happens when it arrives, where it does not say
        frame = frame.with_columns(pl.col("occurred_us").fill_null(received_us))
        frame = event_times(frame, received_us=received_us)
        report += _append(store, frame, received_us=received_us, key=key)
    told = iter(report.outcomes)
    outcomes = (refused[at].reason if at in refused else next(told) for at in range(len(events)))
    return replace(report, outcomes=tuple(outcomes))


def _append(
    store: Store, frame: pl.DataFrame, *, received_us: int, key: bytes | None
) -> IngestReport:
    """Store live events; ids that are addresses are hashed, or said."""
    if key is not None:
        frame = pseudonymised(frame, key=key)
    report = store.append(with_crawlers(frame), received_us=received_us)
    found = addresses_in(frame, np.arange(frame.height))
    return replace(report, flagged=report.flagged + found.flagged, notes=report.notes + found.notes)


def _let_in(event: Event, types: TypeLimit | None) -> Event:
    why = None if types is None else types.refuse(event.type)
    if why is not None:
        raise why
    return event


def _without_addresses(batch: Batch, key: bytes) -> Batch:
    refused = tuple(replace(row, raw=pseudonymised_raw(row.raw, key=key)) for row in batch.rejected)
    return replace(batch, frame=pseudonymised(batch.frame, key=key), rejected=refused)


def _store_batch(store: Store, batch: Batch, kind: Kind, *, received_us: int) -> IngestReport:
    report = IngestReport(rejected=len(batch.rejected), reasons=_reasons(batch), notes=batch.notes)
    if batch.rejected:
        store.quarantine(batch.rejected, received_us=received_us)
    if batch.frame.is_empty():
        return report
    if kind == "item":
        return report + store.put_items(batch.frame, received_us=received_us)
    if kind == "user":
        return report + store.put_users(batch.frame, received_us=received_us)
    timed = event_times(with_crawlers(batch.frame), received_us=received_us)
    report += store.append(timed, received_us=received_us)
    untimed = timed["t_us"].is_null().to_numpy()
    if untimed.any():
        lines = tuple(int(n) for n in np.asarray(batch.lines)[untimed][:LINES_SHOWN])
        report += IngestReport(
            flagged=(Reason("untimed", int(untimed.sum()), lines),),
            notes=("events without a time feed the models, not the lifecycle",),
        )
    return report


def _reasons(batch: Batch) -> tuple[Reason, ...]:
    grouped: dict[str, list[int | None]] = {}
    for row in batch.rejected:
        grouped.setdefault(row.reason, []).append(row.line)
    return tuple(
        Reason(reason, len(lines), tuple(n for n in lines if n is not None)[:LINES_SHOWN])
        for reason, lines in grouped.items()
    )


def _refuse_transposed(store: Store, frame: pl.DataFrame) -> None:
    sample = frame.head(2000)
    users = sample["user_id"].drop_nulls().unique().to_list()
    items = sample["item_id"].drop_nulls().unique().to_list()
    ids = list(dict.fromkeys(users + items))
    if not users or not items:
        return
    known_users = {i for i, u in zip(ids, store.users(ids), strict=True) if u is not None}
    known_items = {i for i, t in zip(ids, store.items(ids), strict=True) if t is not None}
    if looks_transposed(users, items, known_users=known_users, known_items=known_items):
        raise InputError(
            "the interactions look transposed: the user column holds ids of the item catalogue",
            got=str(users[0]),
            allowed="user_id names users and item_id names items",
            hint="swap them: --map user_id=<your user column> --map item_id=<your item column>",
        )


def _at(event: Event, occurred_us: int) -> Event:
    return replace(event, occurred_us=occurred_us)
