"""Commands of the way in: import, identify."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lifeloop.cli.session import AsJson, Folder, Quiet, opened, out, print_json, table

File = Annotated[Path, typer.Argument(help="CSV, JSON lines or Parquet, also gzipped")]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", help="our_column=your_column, repeatable; positions count from 0"),
]
Source = Annotated[
    str, typer.Option(help="name of the origin; equal rows of one source are one event")
]
HashEmails = Annotated[
    bool, typer.Option("--hash-emails", help="store e-mail addresses as ids as a keyed hash")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="show ten parsed rows and what is missing; store nothing")
]
Zone = Annotated[str | None, typer.Option(help="IANA zone of times without one")]


def import_users(
    file: File,
    mapping: Map = None,
    zone: Zone = None,
    hash_emails: HashEmails = False,
    dry_run: DryRun = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Import users: user_id, attributes, consent, created_at, channel."""
    given = {"zone": zone, "hash_emails": hash_emails}
    _import("users", file, mapping, folder, as_json, quiet, dry_run=dry_run, **given)


def import_items(
    file: File,
    mapping: Map = None,
    zone: Zone = None,
    hash_emails: HashEmails = False,
    dry_run: DryRun = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Import items: item_id, title, description, categories, brand, price, …"""
    given = {"zone": zone, "hash_emails": hash_emails}
    _import("items", file, mapping, folder, as_json, quiet, dry_run=dry_run, **given)


def import_events(
    file: File,
    mapping: Map = None,
    event_type: Annotated[
        str | None, typer.Option("--type", help="type of all rows, where no column says it")
    ] = None,
    source: Source = "import",
    zone: Zone = None,
    hash_emails: HashEmails = False,
    dry_run: DryRun = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Import events: user_id or anonymous_id, type, occurred_at, item_id, value, …"""
    given = {"type": event_type, "source": source, "zone": zone, "hash_emails": hash_emails}
    _import("events", file, mapping, folder, as_json, quiet, dry_run=dry_run, **given)


def import_pair(
    users_file: Annotated[Path, typer.Argument(help="user_data.csv: user_id, …, rating")],
    items_file: Annotated[Path, typer.Argument(help="item_data.csv: item_id, …")],
    row_aligned: Annotated[
        bool,
        typer.Option("--row-aligned", help="confirm: row n of one file is row n of the other"),
    ] = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Import the textbook's pair of files: ratings beside the users, items in the other file."""
    from lifeloop.cli.progress import bars

    with opened(folder, as_json=as_json) as loop, bars(quiet=quiet or as_json) as progress:
        reports = loop.import_pair(
            users_file, items_file, row_aligned=row_aligned, progress=progress
        )
    if as_json:
        print_json({kind: report.to_dict() for kind, report in reports.items()})
        return
    for kind, report in reports.items():
        show_report(kind, report)


def import_everything(
    file: Annotated[Path, typer.Argument(help="a file of lifeloop export --all")],
    hash_emails: HashEmails = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Import the export of a whole store; what is held already is skipped."""
    from lifeloop.cli.progress import bars
    from lifeloop.transfer import import_all

    with opened(folder, as_json=as_json) as loop, bars(quiet=quiet or as_json) as progress:
        reports = import_all(
            loop.store,
            file,
            scenario=loop.scenario,
            clock=loop.clock,
            key=loop.id_key(hash_emails=hash_emails),
            progress=progress,
        )
    if as_json:
        print_json({kind: report.to_dict() for kind, report in reports.items()})
        return
    for kind, report in reports.items():
        show_report(f"{kind} rows", report)


def pseudonym(
    address: Annotated[str, typer.Argument(help="an e-mail address")],
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Tell the id under which an e-mail address is stored by --hash-emails."""
    with opened(folder, as_json=as_json) as loop:
        found = loop.pseudonym(address)
    if as_json:
        print_json({"user_id": found})
    else:
        out.print(found, highlight=False)


def identify(
    anonymous_id: Annotated[str, typer.Argument(help="the visitor's id")],
    user_id: Annotated[str, typer.Argument(help="the user they turned out to be")],
    kind: Annotated[
        str, typer.Option(help="device, mail_hash, openid, unionid or account")
    ] = "device",
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Link an anonymous visitor, or another alias, to a user; two known users never merge."""
    from dataclasses import asdict
    from typing import cast

    from lifeloop.contracts import AliasKind

    with opened(folder, as_json=as_json) as loop:
        report = loop.identify(anonymous_id, user_id, kind=cast("AliasKind", kind))
    if as_json:
        print_json(asdict(report))
    else:
        out.print(f"{report.anonymous_id} → {report.user_id}: {report.status}")


def parse_map(
    pairs: list[str] | None, option: str = "--map", *, empty: bool = False
) -> dict[str, str]:
    """Return ``["user_id=household"]`` as a mapping; a malformed pair ends the command.

    ``empty`` allows an empty right side.
    """
    mapping: dict[str, str] = {}
    for pair in pairs or []:
        ours, equals, theirs = pair.partition("=")
        if not equals or not ours or not (theirs or empty):
            raise typer.BadParameter(f"{pair!r} is not our_column=your_column", param_hint=option)
        mapping[ours.strip()] = theirs.strip()
    return mapping


def show_report(title: str, report: Any) -> None:
    """Print an ingest report as a table, its reasons and its notes."""
    counts = [[report.accepted, report.duplicate, report.rejected]]
    out.print(table(title, ["accepted", "duplicate", "rejected"], counts))
    rows = [
        [kind, r.reason, r.count, ", ".join(map(str, r.lines[:8])) or None]
        for kind, reasons in (("rejected", report.reasons), ("flagged", report.flagged))
        for r in reasons
    ]
    if rows:
        out.print(table("", ["", "reason", "rows", "first lines"], rows))
    for note in report.notes:
        out.print(f"· {note}", markup=False, highlight=False)


def _import(
    kind: str,
    file: Path,
    mapping: list[str] | None,
    folder: Path,
    as_json: bool,
    quiet: bool,
    *,
    dry_run: bool,
    **options: Any,
) -> None:
    from lifeloop.cli.progress import bars

    if dry_run:
        from lifeloop.cli.presets import dry_run_file

        options.pop("hash_emails", None)
        dry_run_file(kind, file, parse_map(mapping), folder, as_json=as_json, **options)
        return
    given = {name: value for name, value in options.items() if value is not None}
    with opened(folder, as_json=as_json) as loop, bars(quiet=quiet or as_json) as progress:
        importer = getattr(loop, f"import_{kind}")
        report = importer(file, map=parse_map(mapping), progress=progress, **given)
    if as_json:
        print_json(report.to_dict())
    else:
        show_report(f"{kind} from {file.name}", report)
