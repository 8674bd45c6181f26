"""The lake follows the store by sequence numbers, and forgets what the store forgot.

*Crash.* Files never change and get their name from their content; the manifest is swapped last. So
whatever dies on the way leaves the former lake and some files that are on no list, which the next
call removes. *Readers* hold one manifest: files that a compaction replaced stay for one more
generation; files that held an erased person go at once.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4
from zoneinfo import ZoneInfo

import polars as pl
import sqlalchemy as sa

from lifeloop.contracts import Finding, LakeReport, Snapshot
from lifeloop.errors import StoreError
from lifeloop.events.records import ITEM_SCHEMA, USER_SCHEMA
from lifeloop.store import clock, tables
from lifeloop.store.backend import Backend, bound
from lifeloop.store.exclusive import exclusive
from lifeloop.store.kept import SqlKept
from lifeloop.store.lake.checking import lake_findings
from lifeloop.store.lake.files import Files
from lifeloop.store.lake.manifest import NAME, TABLES, Manifest, Part
from lifeloop.store.lake.parts import read_part, write_parts
from lifeloop.store.lake.removing import Removal, numbers, without
from lifeloop.store.snapshots import named

SLICE = 500_000
"""Sequence numbers that are read from the store at once: memory is bounded."""

_WAIT_S = 60.0
_AT_ONCE = 500  # numbers per statement


class Lake:
    """The lake of one store at a folder or fsspec URL."""

    def __init__(self, backend: Backend, url: str, *, zone: str) -> None:
        self._backend = backend
        self._files = Files(url)
        self._zone = zone

    def status(self) -> LakeReport:
        """Return where the lake stands; ``behind`` counts numbers it has not followed."""
        lake = Manifest.read(self._files) or Manifest(zone=self._zone, epoch="")
        with self._backend.read() as con:
            newest = clock.newest(con)
        return _report(lake, newest)

    def extend(self) -> LakeReport:
        """Follow the store to its newest number, and apply what was removed from it since."""
        with self._alone():
            lake = self._sound()
            if not lake.epoch:  # the history that this lake will belong to gets its name
                lake = replace(lake, epoch=uuid4().hex)
                kept = SqlKept(self._backend)
                kept.put("store", "epoch", {"epoch": lake.epoch}, at_us=0)
            pending = self._pending(lake)  # before the rows: what goes later is applied later
            newest = clock.settle(self._backend)
            lake, rewritten = self._forget(lake, pending)
            written = 0
            for after in range(lake.seq, newest, SLICE):
                upto = min(after + SLICE, newest)
                parts = [
                    part
                    for name in TABLES
                    for part in write_parts(
                        self._files, name, self._rows(name, after, upto), zone=self._zone
                    )
                ]
                lake = replace(lake, seq=upto, parts=(*lake.parts, *parts))
                written += len(parts)
                lake = self._swap(lake)
            if newest == lake.seq and not written and not Manifest.read(self._files):
                lake = self._swap(lake)
            self._sweep(lake)
        return replace(_report(lake, newest), written=written, rewritten=rewritten)

    def check(self, *, quick: bool = False) -> list[Finding]:
        """Say whether the files are what their list and the store say; changes nothing."""
        held = Manifest.read(self._files) if self._readable() else None
        pending = 0 if held is None else len(self._pending(held))
        found = lake_findings(self._backend, self._files, self._sound, pending=pending, quick=quick)
        return list(found)

    def compact(self) -> LakeReport:
        """Merge the files of each day (and of each other table) into one."""
        with self._alone():
            lake = self._sound()
            groups: dict[tuple[str, str | None], list[Part]] = {}
            for part in lake.parts:
                groups.setdefault((part.table, part.day), []).append(part)
            kept: list[Part] = []
            retired: list[str] = []
            merged = 0
            for (table, _), parts in groups.items():
                if len(parts) == 1:
                    kept += parts
                    continue
                frame = pl.concat([read_part(self._files, part) for part in parts])
                made = list(write_parts(self._files, table, frame, zone=lake.zone))
                kept += made
                merged += len(made)
                retired += [part.path for part in parts]
            if merged:
                lake = self._swap(replace(lake, parts=tuple(kept)), retired=tuple(retired))
            self._sweep(lake)
        return replace(self.status(), written=merged)

    def rebuild(self) -> LakeReport:
        """Write the lake anew from the store: after another time zone, a restore or damage."""
        with self._alone():
            self._files.delete(NAME)
            for path in self._files.paths():
                self._files.delete(path)
        return self.extend()

    def snapshot(self, *, as_of_us: int | None = None, seq: int | None = None) -> Snapshot:
        """Return what ``Store.snapshot`` returns, from the files alone.

        Raises
        ------
        StoreError
            If ``seq`` is beyond the lake, or the store has removed rows that the lake still holds.
        """
        lake = self._sound()
        if self._pending(lake):
            raise StoreError(
                "the lake still holds rows that were erased or have expired",
                got=self._files.url,
                hint="lifeloop lake extend",
            )
        known = lake.seq if seq is None else seq
        if known > lake.seq:
            raise StoreError(
                "the lake does not reach this sequence number",
                got=known,
                allowed=f"up to {lake.seq}",
                hint="lifeloop lake extend",
            )
        held = {name: self._held(lake, name, known, as_of_us) for name in TABLES}
        events = held["events"]
        if as_of_us is not None:
            events = events.filter(pl.col("t_us").is_null() | (pl.col("t_us") < as_of_us))
        replaced = held["superseded"].select("seq")
        links = held["links"].select("anonymous_id", linked="user_id")
        events = named(events.join(replaced, on="seq", how="anti"), links)
        items = _newest(held["items"], "item_id").with_columns(
            pl.col("categories").str.json_decode(pl.List(pl.String))
        )
        return Snapshot(
            events=events.sort("user_id", "t_us", "seq"),
            users=_newest(held["users"], "user_id").select(list(USER_SCHEMA)),
            items=items.select(list(ITEM_SCHEMA)),
            as_of_us=as_of_us,
            seq=known,
        )

    # ---------------------------------------------------------------- steps

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with exclusive(self._backend, "lake", wait_s=_WAIT_S) as mine:
            if not mine:
                raise StoreError(
                    f"another process has been writing the lake for more than {_WAIT_S:g} s",
                    got=self._files.url,
                    hint="repeat the call when it is done",
                )
            yield

    def _sound(self) -> Manifest:
        held = SqlKept(self._backend).get("store", "epoch")
        lake = Manifest.read(self._files)
        if lake is None:
            return Manifest(zone=self._zone, epoch="" if held is None else held["epoch"])
        if held is None or lake.epoch != held["epoch"]:
            raise StoreError(
                "the lake follows another store, or the state of this one before a restore",
                got=self._files.url,
                hint="name another lake, or write this one anew: lifeloop lake rebuild",
            )
        if lake.zone != self._zone:
            raise StoreError(
                "the days of the lake are those of another time zone",
                got=lake.zone,
                allowed=self._zone,
                hint="write it anew: lifeloop lake rebuild",
            )
        return lake

    def _readable(self) -> bool:
        try:
            Manifest.read(self._files)
        except StoreError:
            return False
        return True

    def _rows(self, name: str, after: int, upto: int) -> pl.DataFrame:
        table = tables.metadata.tables[name]
        number = table.c.by_seq if name == "superseded" else table.c.seq
        query = sa.select(*(table.c[column] for column in TABLES[name]))
        return self._backend.frame(query.where(number > after, number <= upto), TABLES[name])

    def _pending(self, lake: Manifest) -> list[Removal]:
        query = sa.select(tables.removals).where(tables.removals.c.id > lake.removal)
        with self._backend.read() as con:
            rows = con.execute(query.order_by(tables.removals.c.id)).all()
        return [Removal.of(row.id, json.loads(row.body)) for row in rows]

    def _forget(self, lake: Manifest, pending: Iterable[Removal]) -> tuple[Manifest, int]:
        """Rewrite every file that holds a removed row, and delete what it replaces at once."""
        rewritten = 0
        for removal in pending:
            parts: list[Part] = []
            dead: list[str] = []
            fresh = self._rows_of(removal.changed)
            for part in lake.parts:
                if not removal.touches(part):
                    parts.append(part)
                    continue
                frame = read_part(self._files, part)
                left = without(frame, removal, fresh if part.table == "events" else None)
                if left.equals(frame):
                    parts.append(part)
                    continue
                made = write_parts(self._files, part.table, left, zone=lake.zone)
                parts += made
                dead.append(part.path)
                rewritten += 1
            dead += lake.retired
            lake = self._swap(replace(lake, parts=tuple(parts), removal=removal.id), retired=())
            for path in dead:
                self._files.delete(path)
        return lake, rewritten

    def _rows_of(self, seqs: list[tuple[int, int]]) -> pl.DataFrame:
        wanted = numbers(seqs).to_list()
        columns = [tables.events.c[name] for name in TABLES["events"]]
        frames = [
            self._backend.frame(
                sa.select(*columns).where(tables.events.c.seq.in_(wanted[at : at + _AT_ONCE])),
                TABLES["events"],
            )
            for at in range(0, len(wanted), _AT_ONCE)
        ]
        return pl.concat([pl.DataFrame(schema=TABLES["events"]), *frames])

    def _swap(self, lake: Manifest, *, retired: tuple[str, ...] | None = None) -> Manifest:
        gone = lake.retired if retired is None else retired
        lake = replace(lake, generation=lake.generation + 1, retired=gone)
        lake.write(self._files)
        return lake

    def _sweep(self, lake: Manifest) -> None:
        """Delete files that are on no list: of a call that died, or of an older generation."""
        listed = {NAME, *lake.retired, *(part.path for part in lake.parts)}
        for path in self._files.paths():
            if path not in listed:
                self._files.delete(path)

    def _held(self, lake: Manifest, name: str, known: int, as_of_us: int | None) -> pl.DataFrame:
        last_day = None if as_of_us is None else _day(as_of_us, lake.zone)
        parts = [
            part
            for part in lake.parts
            if part.table == name
            and part.first <= known
            and (last_day is None or part.day in (None, "untimed") or str(part.day) <= last_day)
        ]
        number = "by_seq" if name == "superseded" else "seq"
        frames = [read_part(self._files, part).filter(pl.col(number) <= known) for part in parts]
        return pl.concat([pl.DataFrame(schema=TABLES[name]), *frames])


def _newest(frame: pl.DataFrame, key: str) -> pl.DataFrame:
    return frame.sort("seq").unique(key, keep="last").sort(key)


def _day(t_us: int, zone: str) -> str:
    if t_us >= bound(None) or not -62_135_510_400 < t_us // 1_000_000 < 253_402_200_000:
        return "9999-12-31" if t_us > 0 else "0001-01-01"
    seconds = t_us // 1_000_000
    return datetime.fromtimestamp(seconds, tz=UTC).astimezone(ZoneInfo(zone)).date().isoformat()


def _report(lake: Manifest, newest: int) -> LakeReport:
    rows = sum(part.rows for part in lake.parts if part.table == "events")
    return LakeReport(lake.seq, newest - lake.seq, len(lake.parts), rows)
