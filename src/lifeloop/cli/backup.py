"""Commands of safekeeping: backup and restore."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lifeloop.cli.session import AsJson, Folder, failing_well, opened, out, print_json, table

File = Annotated[Path, typer.Argument(help="the backup, one file")]


def backup(file: File, folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """Write the store, the settings and the active bundle to one file; writers go on meanwhile."""
    from lifeloop.custody import backup as write

    with opened(folder, as_json=as_json) as loop:
        about = write(loop.store, loop.home, file)
    _show("backup", about, as_json)
    if not as_json:
        out.print("· the key is not in it: keep project.key safe, and apart from the backups")


def restore(
    file: File,
    into: Annotated[Path, typer.Argument(help="folder of the project to make")],
    url: Annotated[
        str | None, typer.Option(help="an empty database; default: as the settings say")
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(help="folder of project.key and erasures.log, usually the former project"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a project from a backup, of SQLite into PostgreSQL or back; never over another one."""
    from lifeloop.custody import restore as read

    with failing_well(as_json=as_json):
        about = read(file, into, url=url, keys=keys)
    _show("restored", about, as_json)
    if as_json:
        return
    if about["ledger"]:
        out.print(f"· {about['erased']} people erased since this backup were erased again")
    else:
        out.print(
            "· there was no ledger of erasures: whoever was erased after this backup was made is "
            "in it; --keys names the folder of erasures.log and project.key"
        )


def _show(title: str, about: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(about)
        return
    rows = [["seq", about["seq"]], ["schema", about["schema"]], ["files", len(about["files"])]]
    out.print(table(title, ["", ""], rows + [[name, n] for name, n in about["rows"].items() if n]))
