"""The whole store in one file that any program reads, and back into any store.

A zip of ``rows.jsonl`` (one JSON object a line, in the order in which the store learned the rows)
and ``manifest.json``. A backup restores one store exactly, into an empty database; this merges:
what is held already is skipped, so the same file may come any number of times.
"""

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from lifeloop import import_log
from lifeloop.config import Scenario
from lifeloop.contracts import Decision, IngestReport, Progress, Reason, Store, silent
from lifeloop.errors import IdentityRefused, InputError, LifeloopError
from lifeloop.events import Batch
from lifeloop.events.personal import person_id, pseudonymised, pseudonymised_raw
from lifeloop.events.records import EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA, QuarantinedRow
from lifeloop.identities import identify
from lifeloop.store.decisions import NAMELESS
from lifeloop.store.moved import MOVED
from lifeloop.store.whole import whole_file
from lifeloop.watch import FileWatch

FORMAT = 1
ROWS, MANIFEST = "rows.jsonl", "manifest.json"
KINDS = ("user", "item", "event", "link", "decision", "refused")
AT_ONCE = 10_000

_EVENT = {**EVENT_SCHEMA, "t_us": pl.Int64, "received_us": pl.Int64}
_EVENT |= {"flag": pl.String, "content": pl.String}
_OURS = ("conflict", "version")  # judged anew where the row arrives

Row = dict[str, Any]


def export_all(store: Store, path: Path, *, progress: Progress = silent) -> dict[str, Any]:
    """Write every row of one moment of a store to ``path``: whole and synced, or not at all.

    Not in it: keys and accounts, models, the audits of repairs and refused links, and tombstones;
    whoever was erased is not in the store. Writers go on meanwhile; memory stays bounded.

    Returns
    -------
    dict
        The manifest: format, and rows by kind.
    """
    counts = dict.fromkeys(KINDS, 0)
    encode = msgspec.json.Encoder().encode_into
    line = bytearray()
    with whole_file(path, "export") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as out:
        with out.open(ROWS, "w", force_zip64=True) as rows, closing(store.dump()) as every:
            for n, row in enumerate(every, start=1):
                encode(row, line)
                line += b"\n"
                counts[row["row"]] += 1
                if n % AT_ONCE == 0:
                    progress("export", n, None)
                rows.write(line)
        about = {"format": FORMAT, "rows": counts}
        out.writestr(MANIFEST, json.dumps(about, indent=1))
    return about


def import_all(
    store: Store,
    path: Path,
    *,
    scenario: Scenario,
    clock: Callable[[], int],
    key: bytes | None = None,
    progress: Progress = silent,
) -> dict[str, IngestReport]:
    """Read what ``export_all`` wrote into a store, which may hold rows already.

    Versions of users and items that are held are skipped; one that arrived before the newest one
    held here, and does not follow it, is refused as ``older_version`` and kept in quarantine.
    People erased here, and events before the cut-off of what is kept here, are refused. A slate
    keeps the place among the events that it had. With a ``key``, e-mail ids become their hash.

    Returns
    -------
    dict
        One report per kind of row.

    Raises
    ------
    InputError
        The file is damaged or no such export (then nothing is stored), or it brings more types of
        event than are let in.
    """
    with _opened(path) as packed:
        about = _manifest(packed, path)
        arrival = _Arrival(store, scenario, clock=clock, key=key)
        total, seen = sum(about["rows"].values()), 0
        with store.bulk(), arrival:
            for row in _lines(packed):
                arrival.see(row)
                seen += 1
                if seen % AT_ONCE == 0:
                    progress(f"import {path.name}", seen, total)
            arrival.settle()
    for kind, report in arrival.reports.items():
        if report != IngestReport():
            import_log.keep(store, report, kind=kind, file=path.name, at_us=clock())
    return arrival.reports


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        packed = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(
            f"the file is no export of a whole store ({error})",
            got=str(path),
            allowed="a file of lifeloop export --all",
        ) from error
    return packed


def _manifest(packed: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    """Return the manifest of an export of which every byte was found sound."""
    try:
        about = dict(json.loads(packed.read(MANIFEST)))
        broken = packed.testzip()
        held = packed.getinfo(ROWS) is not None and set(about["rows"]) == set(KINDS)
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError) as error:
        raise InputError(
            f"the export is damaged ({error!r}); nothing was stored",
            got=str(path),
            hint="write it anew with lifeloop export --all",
        ) from error
    if broken is not None or not held:
        raise InputError("the export is damaged; nothing was stored", got=str(path))
    if about["format"] != FORMAT:
        raise InputError(
            "the export was written by another lifeloop",
            got=f"format {about['format']}",
            allowed=f"format {FORMAT}",
            hint="install the lifeloop that wrote it, or a newer one",
        )
    return about


def _lines(packed: zipfile.ZipFile) -> Iterator[Row]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with packed.open(ROWS) as rows:
        for line in rows:
            yield decode(line)


class _Arrival:
    """Gathers runs of rows of one kind and stores them in their order; counts what became of them.

    A slate does not end a run of events: it is stored after it, at the number that it would have
    seen.
    """

    def __init__(
        self, store: Store, scenario: Scenario, *, clock: Callable[[], int], key: bytes | None
    ) -> None:
        self.reports = {kind: IngestReport() for kind in KINDS}
        self._store = store
        self._clock = clock
        self._key = key
        self._watch = FileWatch(store, scenario, kind="event")
        self._kind = ""
        self._run: list[Row] = []
        self._slates: list[tuple[int, Row]] = []  # how many rows of the run it saw

    def __enter__(self) -> "_Arrival":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._watch.__exit__(None, None, None)
        if isinstance(error, LifeloopError):
            vars(error)["report"] = sum(self.reports.values(), IngestReport())

    def see(self, row: Row) -> None:
        """Take one row; the run before it is stored where it ends there."""
        kind = row.pop("row")
        if kind == "decision":
            if self._kind not in ("", "event"):
                self.settle()
            self._slates.append((len(self._run), row))
        else:
            if kind != self._kind:
                self.settle()
            self._kind = kind
            self._run.append(row)
        if len(self._run) + len(self._slates) >= AT_ONCE:
            self.settle()

    def settle(self) -> None:
        """Store what was gathered."""
        run, slates, kind = self._run, self._slates, self._kind
        self._run, self._slates, self._kind = [], [], ""
        report = IngestReport()
        told: tuple[str, ...] = ()
        if kind == "event":
            report = self._events(run)
            told = report.outcomes
        elif kind == "user":
            frame = self._named(_frame(run, {**USER_SCHEMA, **MOVED, "line": pl.Int64}))
            report = self._store.put_users(frame, received_us=self._clock())
        elif kind == "item":
            frame = _frame(_with_lists(run), {**ITEM_SCHEMA, **MOVED, "line": pl.Int64})
            report = self._store.put_items(frame, received_us=self._clock())
        elif kind == "link":
            report = self._links(run)
        elif kind == "refused":
            report = self._refused(run)
        if run:
            self.reports[kind] += replace(report, event_ids=(), outcomes=())
        if slates:
            self.reports["decision"] += self._decisions(slates, told)

    def _named(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame if self._key is None else pseudonymised(frame, key=self._key)

    def _events(self, run: Sequence[Row]) -> IngestReport:
        for row in run:
            row["event_id"] = row.pop("refers_to", row["event_id"])
            flags = [f for f in row.pop("flag", "").split(",") if f and f not in _OURS]
            row["flag"] = ",".join(flags) or None
        frame = self._named(_frame(run, {**_EVENT, "line": pl.Int64}))
        if self._key is not None:  # what an event says has changed with its names
            frame = frame.drop("content")
        lines = frame["line"].to_numpy().astype(np.int64)
        seen = self._watch.see(Batch(frame.select(list(EVENT_SCHEMA)), lines))
        return seen + self._store.append(frame, received_us=self._clock())

    def _links(self, run: Sequence[Row]) -> IngestReport:
        report = IngestReport()
        for row in run:
            try:
                told = identify(
                    self._store,
                    row["anonymous_id"],
                    row["user_id"],
                    received_us=row["at_us"],
                    kind=row["kind"],
                    key=self._key,
                )
            except IdentityRefused as error:
                why = Reason("link_refused", 1, (row["seq"],))
                report += IngestReport(rejected=1, reasons=(why,), notes=(str(error),))
                continue
            linked = told.status == "linked"
            report += IngestReport(accepted=int(linked), duplicate=int(not linked))
        return replace(report, notes=report.notes[:20])

    def _refused(self, run: Sequence[Row]) -> IngestReport:
        rows = []
        for row in run:
            raw = json.loads(row["raw"])
            raw = raw if self._key is None else pseudonymised_raw(raw, key=self._key)
            names = ("kind", "reason", "source", "line", "received_us")
            known = {name: row[name] for name in names if name in row}
            rows.append(QuarantinedRow(**known, raw=raw, key=row["row_key"]))
        n = self._store.quarantine(rows, received_us=self._clock())
        return IngestReport(accepted=n, duplicate=len(rows) - n)

    def _decisions(self, slates: Sequence[tuple[int, Row]], told: Sequence[str]) -> IngestReport:
        """Log slates, each at the number that the events before it have here."""
        last = self._store.last_seq()
        stored = np.cumsum([0, *(outcome == "accepted" for outcome in told)])
        made = [
            _decision(row, seq=last - int(stored[-1] - stored[min(n, len(told))]), key=self._key)
            for n, row in slates
        ]
        report = IngestReport()
        held = self._store.decided([decision.request_id for decision in made])
        for decision, known in zip(made, held, strict=True):
            if known is None:
                self._store.log_decision(decision)
                report += IngestReport(accepted=1)
            elif known.user_id == NAMELESS or replace(known, seq=decision.seq) == decision:
                report += IngestReport(duplicate=1)
            else:
                why = Reason("another_slate", 1)
                note = f"another slate is held under request {decision.request_id!r}"
                report += IngestReport(rejected=1, reasons=(why,), notes=(note,))
        return replace(report, notes=report.notes[:20])


def _decision(row: Mapping[str, Any], *, seq: int, key: bytes | None) -> Decision:
    body = json.loads(row["body"])
    for spec in fields(Decision):
        if isinstance(body.get(spec.name), list):
            body[spec.name] = tuple(body[spec.name])
    user_id = person_id(row["user_id"], key=key)
    return Decision(
        request_id=row["request_id"], user_id=user_id, t_us=row["t_us"], seq=seq, **body
    )


def _frame(run: Sequence[Row], schema: Mapping[str, Any]) -> pl.DataFrame:
    """Return rows as a frame; ``line``, by which a refused one is known, is its number there."""
    columns = {name: [row.get("seq" if name == "line" else name) for row in run] for name in schema}
    return pl.DataFrame(columns, schema=dict(schema))


def _with_lists(run: Sequence[Row]) -> list[Row]:
    return [
        {**row, "categories": json.loads(row["categories"])} if "categories" in row else row
        for row in run
    ]
