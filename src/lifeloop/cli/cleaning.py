"""The command clean: what is wrong with a file or with what is stored, and what it is worth."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lifeloop.cli.data import Map, Zone, parse_map
from lifeloop.cli.presets import project_scenario
from lifeloop.cli.session import AsJson, Folder, failing_well, opened, out, print_json, table


def clean(
    file: Annotated[
        Path | None, typer.Argument(help="CSV, JSON lines or Parquet; without it the project")
    ] = None,
    kind: Annotated[str, typer.Option(help="events, items or users")] = "events",
    mapping: Map = None,
    event_type: Annotated[
        str | None, typer.Option("--type", help="type of all rows, where no column says it")
    ] = None,
    zone: Zone = None,
    write: Annotated[
        Path | None, typer.Option("--out", help="write the rows that stay here (Parquet)")
    ] = None,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Report what is wrong in a file or in the project, what was done, and the money it moves.

    Nothing stored is changed. Settings: [clean] in lifeloop.toml.
    """
    from lifeloop.cleaning import write_cleaned

    kinds: dict[str, Any] = {"events": "event", "items": "item", "users": "user"}
    if kind not in kinds:
        raise typer.BadParameter(f"{kind!r} is not one of {', '.join(kinds)}", param_hint="--kind")
    stored = kinds[kind]
    with failing_well(as_json=as_json):
        if file is None:
            with opened(folder, as_json=as_json) as loop:
                cleaned = loop.clean(stored)
        else:
            cleaned = _file(file, stored, folder, parse_map(mapping), event_type, zone)
        written = None if write is None else write_cleaned(cleaned, write)
    if as_json:
        body = cleaned.report.to_dict()
        print_json(body if write is None else {**body, "out": str(write), "out_rows": written})
        return
    show_cleaning(cleaned.report)
    if write is not None:
        out.print(f"wrote {written:,} rows to {write}", highlight=False)


def _file(
    file: Path,
    kind: Any,
    folder: Path,
    mapping: dict[str, str],
    event_type: str | None,
    zone: str | None,
) -> Any:
    from lifeloop.cleaning import clean_file
    from lifeloop.intake import read_options

    scenario = project_scenario(folder)
    options = read_options(scenario, map=mapping, zone=zone, type=event_type)
    return clean_file(file, kind, options=options, scenario=scenario)


def show_cleaning(report: Any) -> None:
    """Print a cleaning report: what was found, the way from before to after, the columns."""
    found = [
        [f.name, f.found, f.set_aside, _money(f.money), f.done, _counts(f.counts)]
        for f in report.findings
    ]
    title = f"{report.kind} of {report.source}: what was found"
    columns = ["", "rows", "set aside", report.currency, "what was done", "in numbers"]
    out.print(table(title, columns, found))
    ledger: list[list[Any]] = [["before", None, None, report.rows, _money(report.money)]]
    ledger += [
        [line.name, -line.rows, _money(-line.money), line.rows_left, _money(line.money_left)]
        for line in report.ledger
    ]
    out.print(
        table(
            "from before to after",
            ["", "rows", report.currency, "rows left", f"{report.currency} left"],
            ledger,
        )
    )
    judged = [
        [c.column, c.missing, c.method, c.filled, c.fill or None, c.outliers, c.scale]
        for c in report.columns
    ]
    if judged:
        heads = ["column", "missing", "chosen", "filled", "how", "outliers", "scale"]
        out.print(table("columns", heads, judged))
    for f in report.findings:
        for example in f.examples[:2]:
            told = ", ".join(f"{k} {v}" for k, v in example.items() if v is not None)
            out.print(f"· {f.name}: {told}", markup=False, highlight=False)
    for note in report.notes:
        out.print(f"· {note}", markup=False, highlight=False)


def _money(micros: int) -> str:
    return f"{micros / 1e6:,.3f}"


def _counts(counts: Any) -> str | None:
    return ", ".join(f"{name} {n:,.0f}" for name, n in counts.items()) or None
