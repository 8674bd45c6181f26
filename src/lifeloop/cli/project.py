"""Commands about the project itself: init, status, demo."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lifeloop.cli.session import AsJson, Folder, Quiet, failing_well, opened, out, print_json, table


def init(
    folder: Annotated[Path, typer.Argument(help="folder to make a project of")],
    scenario: Annotated[str, typer.Option(help="ecommerce, media, or a TOML file")] = "ecommerce",
    force: Annotated[bool, typer.Option("--force", help="write lifeloop.toml anew")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a folder a lifeloop project: write its lifeloop.toml."""
    from lifeloop.home import init as write

    with failing_well(as_json=as_json):
        path = write(folder, scenario=scenario, force=force)
    if as_json:
        print_json({"settings": str(path), "scenario": scenario})
        return
    out.print(f"wrote {path}", highlight=False)
    out.print("next: cd there, then lifeloop import items FILE, import events FILE, train")


def status(folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """Say what the store holds and which bundle answers."""
    with opened(folder, as_json=as_json) as loop:
        moment = loop.moment()
        body: dict[str, Any] = {
            **loop.store.counts(),
            "event_types": loop.store.event_types(),
            "bundle": loop.store.active_bundle(),
            "as_of": moment.as_of.isoformat(timespec="seconds"),
            "as_of_why": moment.why,
            "scenario": loop.scenario.name,
        }
    if as_json:
        print_json(body)
        return
    types = ", ".join(f"{name} {n:,}" for name, n in body.pop("event_types").items())
    rows = [*[[name, value] for name, value in body.items()], ["event types", types or None]]
    out.print(table(str(folder), ["", ""], rows))


def demo(
    data: Annotated[
        str, typer.Option(help="completejourney (a shop), movielens (media) or world (simulated)")
    ] = "completejourney",
    folder: Annotated[
        Path | None,
        typer.Option("--into", help="folder of the demo project; default .demo/DATA"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Load real data, train, show the lifecycle, recommend, evaluate."""
    from lifeloop.cli.demo import run

    with failing_well():
        run(data, folder or Path(".demo") / data, quiet=quiet)
