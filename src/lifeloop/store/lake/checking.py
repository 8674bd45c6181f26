"""Whether the lake is what its list says, and what the store says."""

from collections.abc import Callable, Iterator

import sqlalchemy as sa

from lifeloop.contracts import Finding
from lifeloop.errors import StoreError
from lifeloop.store import clock, tables
from lifeloop.store.backend import Backend
from lifeloop.store.lake.files import Files
from lifeloop.store.lake.manifest import NAME, TABLES, Manifest
from lifeloop.store.lake.parts import read_part

_FAR = 1_000_000
"""Sequence numbers behind the store from which on it is worth a word."""

_REBUILD = "lifeloop lake rebuild"


def lake_findings(
    backend: Backend, files: Files, sound: Callable[[], Manifest], *, pending: int, quick: bool
) -> Iterator[Finding]:
    """Compare list, files and store; ``quick`` does not read the files."""
    try:
        held = Manifest.read(files)
        if held is None:
            yield Finding("lake", "note", "there is no lake", next="lifeloop lake extend")
            return
        lake = sound()
    except StoreError as error:
        yield Finding("lake", "failure", error.what, next=error.hint or _REBUILD)
        return
    with backend.read() as con:
        newest = clock.newest(con)
    wrong = [
        *_removed(pending),
        *_files(files, lake, quick=quick),
        *_counts(backend, lake, pending=pending),
    ]
    if lake.seq > newest:
        wrong.append(
            Finding(
                "lake",
                "failure",
                f"the lake stands at {lake.seq:,}, beyond the store at {newest:,}: the store lost "
                "what it had acknowledged, or is an older copy",
                next=f"restore the newest backup; if the store is right, {_REBUILD}",
            )
        )
    yield from wrong
    behind = newest - lake.seq
    if not wrong:
        yield Finding(
            "lake",
            "note" if behind > _FAR else "ok",
            f"agrees with the store up to {lake.seq:,}, {behind:,} behind",
            count=behind,
            next="lifeloop lake extend" if behind > _FAR else None,
        )


def _removed(pending: int) -> Iterator[Finding]:
    if pending:
        yield Finding(
            "lake",
            "failure",
            "the lake still holds rows that were erased or have expired",
            count=pending,
            next="lifeloop lake extend",
        )


def _files(files: Files, lake: Manifest, *, quick: bool) -> Iterator[Finding]:
    there = set(files.paths())
    lost = [f"{part.path} is missing" for part in lake.parts if part.path not in there]
    if not quick:
        for part in lake.parts:
            if part.path not in there:
                continue
            try:
                read_part(files, part)
            except StoreError:
                lost.append(f"{part.path} is not what was written")
    if lost:
        yield Finding(
            "lake",
            "failure",
            "files of the lake are damaged",
            count=len(lost),
            examples=tuple(lost[:5]),
            next=_REBUILD,
        )
    stray = sorted(there - {NAME, *lake.retired, *(part.path for part in lake.parts)})
    if stray:
        yield Finding(
            "lake",
            "note",
            "files that are on no list, of a call that died",
            count=len(stray),
            examples=tuple(stray[:5]),
            next="lifeloop lake extend removes them",
        )


def _counts(backend: Backend, lake: Manifest, *, pending: int) -> Iterator[Finding]:
    if pending:  # the store has less, and that was said
        return
    apart = []
    with backend.read() as con:
        for name in TABLES:
            table = tables.metadata.tables[name]
            number = table.c.by_seq if name == "superseded" else table.c.seq
            count = sa.select(sa.func.count(number)).where(number <= lake.seq)
            stored = int(con.execute(count).scalar_one())
            filed = sum(part.rows for part in lake.parts if part.table == name)
            if stored != filed:
                apart.append(f"{name}: {filed:,} in the lake, {stored:,} in the store")
    if apart:
        yield Finding(
            "lake",
            "failure",
            "the lake and the store do not hold the same rows",
            count=len(apart),
            examples=tuple(apart),
            next=f"look at the other findings on the store first; then {_REBUILD}",
        )
