"""What every command shares: the project folder, output as table or JSON, errors as messages."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lifeloop.errors import LifeloopError

if TYPE_CHECKING:
    from lifeloop.loop import Lifeloop

SETTINGS_FILE = "lifeloop.toml"

out = Console()
err = Console(stderr=True)

Folder = Annotated[
    Path,
    typer.Option(
        "--dir", "-C", envvar="LIFELOOP_DIR", help="project folder that holds lifeloop.toml"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress bars")]


@contextlib.contextmanager
def opened(folder: Path, *, as_json: bool = False) -> "Iterator[Lifeloop]":
    """Open the project in ``folder``; a lifeloop error ends the command with its message."""
    from lifeloop.loop import Lifeloop

    with failing_well(as_json=as_json), Lifeloop.open(folder) as loop:
        yield loop


@contextlib.contextmanager
def failing_well(*, as_json: bool = False) -> Iterator[None]:
    """Print a lifeloop error (and the report it carries) and exit with 1."""
    try:
        yield
    except LifeloopError as error:
        report = getattr(error, "report", None)
        if as_json:
            body: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
            if report is not None:
                body |= report.to_dict()
            print_json(body)
        elif report is not None:
            err.print_json(json.dumps(report.to_dict(), ensure_ascii=False))
        err.print(f"[red]{type(error).__name__}[/red]: {_escaped(str(error))}", highlight=False)
        raise typer.Exit(1) from None


def print_json(body: Any) -> None:
    """Write one JSON object to stdout; NaN is a defect and raises."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, default=str)
    sys.stdout.write(text + "\n")


def table(title: str, columns: list[str], rows: list[list[Any]]) -> Table:
    """Return a table; numbers are right-aligned, None is an en dash."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for index, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(r[index], int | float | None) for r in rows)
        made.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*[_cell(value) for value in row])
    return made


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 10 else f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    return _escaped(str(value))


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
