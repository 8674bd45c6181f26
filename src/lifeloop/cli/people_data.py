"""Commands about what is held: export it, of a person or all; erase a person; refused links."""

import json
from pathlib import Path
from typing import Annotated, cast

import typer

from lifeloop.cli.session import AsJson, Folder, Quiet, opened, out, print_json, table

Person = Annotated[str, typer.Argument(help="user id, or anon:<anonymous id>")]


def erase(
    user_id: Person,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Erase a person and every alias of theirs, for good; later imports of them are refused."""
    if not yes and not as_json:
        typer.confirm(f"erase {user_id} for good?", abort=True)
    from dataclasses import asdict

    with opened(folder, as_json=as_json) as loop:
        report = asdict(loop.erase(user_id))
    if as_json:
        print_json(report)
        return
    out.print(table("erased", ["", ""], [[name, n] for name, n in report.items()]))
    out.print(
        "· backups made before still hold this person: erasures.log, beside the key, erases them "
        "again when one is restored; keep it, or replace the backups by a new one"
    )


def export(
    user_id: Annotated[str | None, typer.Argument(help="user id, or anon:<anonymous id>")] = None,
    every: Annotated[
        Path | None,
        typer.Option("--all", help="write the whole store to this file; see import all"),
    ] = None,
    into: Annotated[Path | None, typer.Option(help="write to this file, not to stdout")] = None,
    folder: Folder = Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write everything that is held about a person as JSON, or with --all the whole store."""
    if (user_id is None) == (every is None) or (every is not None and into is not None):
        raise typer.BadParameter("name a person, or a file with --all FILE")
    if user_id is None or every is not None:
        _export_all(cast("Path", every), folder, as_json=as_json, quiet=quiet)
        return
    from lifeloop.custody import held as held_about

    with opened(folder, as_json=as_json) as loop:
        held = held_about(loop.store, user_id, loop.home)
    if into is None:
        print_json(held)
        return
    into.write_text(json.dumps(held, ensure_ascii=False, allow_nan=False, indent=1) + "\n", "utf-8")
    if as_json:
        print_json({"file": str(into), "events": len(held["events"])})
    else:
        out.print(f"wrote {into}: {len(held['events'])} events", highlight=False)


def _export_all(file: Path, folder: Path, *, as_json: bool, quiet: bool) -> None:
    from lifeloop.cli.progress import bars
    from lifeloop.transfer import export_all

    with opened(folder, as_json=as_json) as loop, bars(quiet=quiet or as_json) as progress:
        about = export_all(loop.store, file, progress=progress)
    if as_json:
        print_json({"file": str(file), **about})
        return
    out.print(table(f"wrote {file.name}", ["", "rows"], [[k, n] for k, n in about["rows"].items()]))
    out.print("· keys, accounts, models and audits are not in it: lifeloop backup copies a project")


def audit(folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """List every refused link between an alias and a user, oldest first, with its reason."""
    with opened(folder, as_json=as_json) as loop:
        rows = loop.store.identity_audit()
    if as_json:
        print_json({"refused": rows})
        return
    columns = ["anonymous_id", "user_id", "linked_to", "reason", "at_us"]
    out.print(table("refused links", columns, [[row[c] for c in columns] for row in rows]))
