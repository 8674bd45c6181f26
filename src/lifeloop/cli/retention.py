"""The command that ends what has been kept long enough: retain."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lifeloop.cli.session import AsJson, Folder, opened, out, print_json, table


def retain(
    yes: Annotated[bool, typer.Option("--yes", help="remove it; without this only say it")] = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Say what is older than [storage] keep_…_days and what the lifecycle loses; --yes removes it.

    Removed rows leave the database and the lake, and an import of an old file does not bring them
    back. Backups made before still hold them.
    """
    from lifeloop.home import Home
    from lifeloop.retention import retain as retained

    with opened(folder, as_json=as_json) as loop:
        home = Home(loop.home, loop.store.url, loop.scenario)
        done = retained(loop.store, home, now_us=loop.clock(), apply=yes)
    if as_json:
        print_json(asdict(done))
        return
    if not done.cutoffs:
        out.print("nothing is set in [storage] keep_…_days: everything is kept")
        return
    verb = "removed" if done.applied else "would be removed"
    rows: list[list[Any]] = [[name, n] for name, n in asdict(done.expired).items()]
    out.print(table(verb, ["", "rows"], rows))
    if done.stages:
        moved = [[name, a, b, b - a] for name, (a, b) in done.stages.items() if a or b]
        out.print(table("users per stage", ["stage", "before", "after", "change"], moved))
        out.print(f"{done.moved:,} of {done.users:,} users stand elsewhere", highlight=False)
    for note in done.notes:
        out.print(f"· {note}", markup=False, highlight=False)
    if not done.applied:
        out.print("nothing was removed: lifeloop retain --yes")
