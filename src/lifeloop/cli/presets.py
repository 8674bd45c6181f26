"""Commands for the exports of other systems: import --preset NAME, and the dry run."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lifeloop.cli.data import DryRun, HashEmails, Zone, show_report
from lifeloop.cli.session import AsJson, Folder, Quiet, failing_well, opened, out, print_json, table


class PresetGroup(TyperGroup):
    """Reads ``import --preset NAME FILES`` as ``import from NAME FILES``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Rewrite the arguments where no subcommand is named."""
        named = [i for i, a in enumerate(args) if a == "--preset" or a.startswith("--preset=")]
        if named and not any(a in self.commands for a in args[:1]):
            at = named[0]
            inline = args[at].partition("=")[2]
            name = [inline] if inline else args[at + 1 : at + 2]
            rest = args[:at] + args[at + (1 if inline else 2) :]
            args = ["from", *name, *rest]
        return super().parse_args(ctx, args)


def import_from(
    preset: Annotated[
        str,
        typer.Argument(help="gorse, posthog, segment, shopify, movielens, retailrocket, taobao"),
    ],
    files: Annotated[list[Path], typer.Argument(help="files of the export, or folders of them")],
    zone: Zone = None,
    hash_emails: HashEmails = False,
    dry_run: DryRun = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Import the export of another system; also written: import --preset NAME FILES."""
    from lifeloop.cli.progress import bars

    if dry_run:
        _dry_run(preset, files, zone, folder, as_json=as_json)
        return
    with opened(folder, as_json=as_json) as loop, bars(quiet=quiet or as_json) as progress:
        reports = loop.import_preset(
            preset, files, zone=zone, hash_emails=hash_emails, progress=progress
        )
    if as_json:
        parts = [{"kind": p.kind, "file": p.path.name, **r.to_dict()} for p, r in reports]
        print_json({"preset": preset, "parts": parts})
        return
    for part, report in reports:
        show_report(f"{part.kind}s from {part.path.name}", report)


def dry_run_file(
    kind: str, file: Path, mapping: dict[str, str], folder: Path, *, as_json: bool, **given: Any
) -> None:
    """Show what an import of one file would store."""
    from lifeloop.arrival import preview
    from lifeloop.events.datasets import Part
    from lifeloop.intake import read_options

    with failing_well(as_json=as_json):
        scenario = project_scenario(folder)
        chosen = {name: value for name, value in given.items() if value is not None}
        options = read_options(scenario, map=mapping, **chosen)
        single: Any = kind.removesuffix("s")
        found = preview(Part(single, file, options), scenario=scenario)
    _shown([found], as_json=as_json, notes=())


def _dry_run(
    preset: str, files: list[Path], zone: str | None, folder: Path, *, as_json: bool
) -> None:
    from lifeloop.arrival import opened_preset, preview

    with failing_well(as_json=as_json):
        scenario = project_scenario(folder)
        with opened_preset(preset, files, scenario=scenario, zone=zone) as export:
            found = [preview(part, scenario=scenario) for part in export.parts]
            notes = export.notes
    _shown(found, as_json=as_json, notes=notes)


def _shown(found: list[Any], *, as_json: bool, notes: tuple[str, ...]) -> None:
    if as_json:
        print_json({"files": [one.to_dict() for one in found], "notes": list(notes)})
        return
    for one in found:
        columns = list(dict.fromkeys(name for row in one.rows for name in row))
        cells = [[row.get(name) for name in columns] for row in one.rows]
        title = f"{one.kind}s from {one.file}: the first of {one.seen:,} rows looked at"
        out.print(table(title, columns, cells))
        for name, why in one.missing.items():
            out.print(f"· missing {name}: {why}", markup=False, highlight=False)
        for reason, n in one.refused.items():
            out.print(f"· refused {n:,}: {reason}", markup=False, highlight=False)
        if one.types:
            listed = ", ".join(f"{name} {n:,}" for name, n in one.types.items())
            out.print(f"· types: {listed}", markup=False, highlight=False)
        if one.unknown_types:
            listed = ", ".join(one.unknown_types)
            out.print(f"· not in the scenario: {listed}", markup=False, highlight=False)
        for note in one.notes:
            out.print(f"· {note}", markup=False, highlight=False)
    for note in notes:
        out.print(f"· {note}", markup=False, highlight=False)
    out.print("nothing was stored", highlight=False)


def project_scenario(folder: Path) -> Any:
    """Return the scenario of a project, or the default one where there is no project."""
    from lifeloop.config import Scenario
    from lifeloop.home import DEFAULT_SCENARIO, SETTINGS_FILE

    settings = folder / SETTINGS_FILE
    return Scenario.load(settings if settings.is_file() else DEFAULT_SCENARIO)
