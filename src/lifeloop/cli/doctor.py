"""The command that looks at everything and changes nothing: doctor."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lifeloop.cli.session import AsJson, Folder, failing_well, out, print_json, table

_COLOURS = {"failure": "red", "warning": "yellow", "note": "cyan", "ok": "green"}


def doctor(
    quick: Annotated[
        bool, typer.Option("--quick", help="do not read every page and every file of the lake")
    ] = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Examine database, lake, keys, models and room: what is wrong, how bad, what to do next.

    Exit code 1 when something has failed; notes and warnings end with 0. Nothing is changed.
    """
    with failing_well(as_json=as_json):
        from lifeloop.doctor import examine
        from lifeloop.home import Home
        from lifeloop.loop import now_us

        found = examine(Home.of(folder, scenario=None), clock=now_us, quick=quick)
    counts = {name: sum(f.severity == name for f in found) for name in _COLOURS}
    if as_json:
        print_json({"findings": [asdict(f) for f in found], **counts})
    else:
        rows = [[f.severity, f.check, f.said] for f in found]
        made = table("doctor", ["", "what", "found"], rows)
        out.print(made)
        for f in found:
            if f.severity in ("failure", "warning"):
                colour = _COLOURS[f.severity]
                out.print(f"[{colour}]{f.check}[/{colour}]", end=" ")
                if f.examples:
                    out.print("; ".join(f.examples), markup=False, highlight=False, end=" ")
                out.print(f"→ {f.next}", markup=False, highlight=False)
        out.print(", ".join(f"{n} {name}" for name, n in counts.items() if n), highlight=False)
    if counts["failure"]:
        raise typer.Exit(1)
