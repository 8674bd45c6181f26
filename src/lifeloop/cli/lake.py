"""Commands of the lake: extend, compact, status, rebuild, snapshot."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from lifeloop.cli.session import AsJson, Folder, opened, out, print_json, table


def extend(folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """Follow the store: write what is new, rewrite what was erased or has expired."""
    _show("extend", folder, as_json)


def compact(folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """Merge the files of each day into one."""
    _show("compact", folder, as_json)


def status(folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """Say how far the lake has followed the store."""
    _show("status", folder, as_json)


def rebuild(folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """Write the lake anew: after another time zone, a restore, or damage."""
    _show("rebuild", folder, as_json)


def snapshot(
    into: Annotated[Path, typer.Argument(help="folder to write to")],
    as_of: Annotated[
        datetime | None, typer.Option(help="events before this moment (UTC) only")
    ] = None,
    seq: Annotated[int | None, typer.Option(help="as known at this sequence number")] = None,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Write users, items and events as known then; the same question gives the same bytes."""
    from datetime import UTC

    from lifeloop.store.lake import write_snapshot

    at = None if as_of is None else int(as_of.replace(tzinfo=UTC).timestamp() * 1_000_000)
    with opened(folder, as_json=as_json) as loop:
        known = loop.lake().snapshot(as_of_us=at, seq=seq)
        files = write_snapshot(known, into)
    if as_json:
        print_json({"seq": known.seq, "as_of_us": at, "files": files})
        return
    out.print(
        table(f"snapshot at {known.seq}", ["file", "hash"], [[*row] for row in files.items()])
    )


def _show(verb: str, folder: Path, as_json: bool) -> None:
    with opened(folder, as_json=as_json) as loop:
        report = asdict(getattr(loop.lake(), verb)())
    if as_json:
        print_json(report)
    else:
        out.print(table(f"lake {verb}", ["", ""], [[name, n] for name, n in report.items()]))
