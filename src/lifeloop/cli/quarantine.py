"""Commands of quarantine: list, show, retry with --set, export and import as CSV, drop, audit."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lifeloop.cli.data import Map, parse_map, show_report
from lifeloop.cli.session import AsJson, Folder, opened, out, print_json, table

if TYPE_CHECKING:
    from lifeloop.contracts import QuarantinedRow

Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", help="only rows with id=, reason=, source=, kind=, line= or COLUMN=; repeatable"
    ),
]
By = Annotated[str | None, typer.Option("--by", help="your name in the audit; default: the login")]


def listed(
    reason: Annotated[str | None, typer.Option(help="only rows refused for this reason")] = None,
    where: Where = None,
    limit: Annotated[int, typer.Option(help="at most this many rows")] = 50,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """List refused rows, oldest first, with their reason and their line."""
    from lifeloop.repair import chosen

    only = parse_map(where, "--where")
    with opened(folder, as_json=as_json) as loop:
        rows = loop.store.quarantined(reason=reason, limit=None if only else limit)
        rows = [row for row in rows if chosen(row, only)][:limit]
        total = loop.store.counts()["quarantined"]
    if as_json:
        print_json({"total": total, "rows": [_told(row) for row in rows]})
        return
    cells: list[list[Any]] = [
        [row.quarantine_id, row.kind, row.reason, row.source, row.line, dict(row.raw)]
        for row in rows
    ]
    columns = ["id", "kind", "reason", "source", "line", "row"]
    out.print(table(f"{total} rows in quarantine", columns, cells))


def show(
    quarantine_id: Annotated[int, typer.Argument(help="see lifeloop quarantine list")],
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Show one refused row, and what is wrong with it now; or who let it out and how."""
    from lifeloop.errors import UnknownId
    from lifeloop.intake import read_options
    from lifeloop.repair import fault_of

    with opened(folder, as_json=as_json) as loop:
        rows = [r for r in loop.store.quarantined() if r.quarantine_id == quarantine_id]
        past = [r for r in loop.store.repairs() if r["quarantine_id"] == quarantine_id]
        if not rows and not past:
            raise UnknownId(
                "there is no such row in quarantine, and there was none",
                got=quarantine_id,
                hint="lifeloop quarantine list",
            )
        fault = fault_of(rows[0], read_options(loop.scenario)) if rows else None
    if as_json:
        now = {**_told(rows[0]), "fault": fault} if rows else None
        print_json({"row": now, "repairs": past})
        return
    for row in rows:
        title = f"row {row.quarantine_id}: {row.kind}, {row.reason}, {row.source} line {row.line}"
        out.print(table(title, ["column", "value"], [[k, v] for k, v in row.raw.items()]))
        out.print(fault or "it would pass now: lifeloop quarantine retry", markup=False)
    _show_repairs(past)


def retry(
    mapping: Map = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", help="field=value in these rows, repeatable; empty takes it away"),
    ] = None,
    where: Where = None,
    by: By = None,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Try refused rows again, under the present settings, --map and --set; what passes leaves.

    --set needs --where: say which rows are meant (all events: --where kind=event).
    """
    from lifeloop.repair import chosen

    only, values = parse_map(where, "--where"), parse_map(fields, "--set", empty=True)
    if values and not only:
        raise typer.BadParameter("say which rows are meant", param_hint="--where")

    def edit(row: "QuarantinedRow") -> dict[str, str] | None:
        return values if chosen(row, only) else None

    with opened(folder, as_json=as_json) as loop:
        report = loop.retry_quarantine(
            mapping=parse_map(mapping), who=by or getpass.getuser(), edit=edit if only else None
        )
    if as_json:
        print_json(report.to_dict())
    else:
        show_report("quarantine", report)


def export(
    file: Annotated[Path, typer.Argument(help="CSV to write")],
    where: Where = None,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Write refused rows as CSV, to be edited in a spreadsheet and put back with import."""
    from lifeloop.repair import chosen
    from lifeloop.repair_file import write_rows

    only = parse_map(where, "--where")
    with opened(folder, as_json=as_json) as loop:
        n = write_rows([r for r in loop.store.quarantined() if chosen(r, only)], file)
    if as_json:
        print_json({"file": str(file), "rows": n})
    else:
        out.print(
            f"wrote {n:,} rows to {file}: edit the cells, leave #id, then "
            f"lifeloop quarantine import {file}",
            highlight=False,
        )


def put_back(
    file: Annotated[Path, typer.Argument(help="CSV of lifeloop quarantine export, edited")],
    mapping: Map = None,
    by: By = None,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Try the rows of an edited CSV again: the cells that changed are changed, and audited.

    A row that is gone from quarantine is not stored twice; a line that was deleted stays there.
    """
    from lifeloop.repair_file import edits_of, read_edits

    with opened(folder, as_json=as_json) as loop:
        edits = read_edits(file)
        held = {row.quarantine_id for row in loop.store.quarantined()}
        report = loop.retry_quarantine(
            mapping=parse_map(mapping), who=by or getpass.getuser(), edit=edits_of(edits)
        )
    gone = sorted(set(edits) - held)
    if as_json:
        print_json({**report.to_dict(), "gone": gone})
        return
    show_report("quarantine", report)
    if gone:
        out.print(f"· {len(gone):,} rows had left quarantine before: nothing was done with them")


def drop(
    where: Where = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    by: By = None,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Take rows that are no data out of quarantine, for good; the audit keeps them."""
    from lifeloop.repair import chosen, drop_quarantined

    only = parse_map(where, "--where")
    if not only:
        raise typer.BadParameter("say which rows are meant", param_hint="--where")
    with opened(folder, as_json=as_json) as loop:
        n = sum(chosen(row, only) for row in loop.store.quarantined())
        if not yes and not as_json:
            typer.confirm(f"drop {n:,} rows?", abort=True)
        who = by or getpass.getuser()
        n = drop_quarantined(loop.store, only, who=who, at_us=loop.clock())
    if as_json:
        print_json({"dropped": n})
    else:
        out.print(f"dropped {n:,} rows", highlight=False)


def audit(
    limit: Annotated[int, typer.Option(help="at most this many, the newest")] = 50,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """List who let which refused row out, when, and what was changed in it."""
    with opened(folder, as_json=as_json) as loop:
        past = loop.store.repairs(limit=limit)
    if as_json:
        print_json({"repairs": past})
    else:
        _show_repairs(past)


def _show_repairs(past: list[dict[str, Any]]) -> None:
    if not past:
        return
    rows: list[list[Any]] = []
    for row in past:
        said = [f"{name}: {a!r} → {b!r}" for name, (a, b) in row["changes"].items()]
        told = "; ".join(said) or "as it was"
        rows.append(
            [row["quarantine_id"], row["at_us"], row["who"], row["reason"], told, row["outcome"]]
        )
    out.print(table("repairs", ["row", "at_us", "by", "was", "changed", "became"], rows))


def _told(row: "QuarantinedRow") -> dict[str, Any]:
    return {
        "quarantine_id": row.quarantine_id,
        "kind": row.kind,
        "reason": row.reason,
        "source": row.source,
        "line": row.line,
        "raw": dict(row.raw),
    }
