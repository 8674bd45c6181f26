"""Commands of learning: train, and the model bundles."""

import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from lifeloop.cli.session import AsJson, Folder, Quiet, opened, out, print_json, table


def train(
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh",
            help="count anew and keep the settings, weights and trees of the active bundle: a "
            "fraction of the time; what moved since is in the notes",
        ),
    ] = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Learn from everything stored and make the new bundle the active one."""
    from lifeloop.cli.progress import bars

    with (
        opened(folder, as_json=as_json) as loop,
        bars(quiet=quiet or as_json) as progress,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", UserWarning)  # the manifest's notes say it
        manifest = loop.train(progress=progress, refresh=refresh)
    if as_json:
        print_json(dict(manifest))
    else:
        show_manifest(manifest)


def models_list(folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """List every bundle, newest first; the active one is marked."""
    with opened(folder, as_json=as_json) as loop:
        rows = loop.store.bundles()
    if as_json:
        print_json({"bundles": rows})
        return
    cells: list[list[Any]] = [
        [
            "→" if row["active"] else "",
            row["bundle"],
            _when(row["at_us"]),
            row["manifest"].get("interactions"),
            row["manifest"].get("encoder"),
        ]
        for row in rows
    ]
    out.print(table("bundles", ["", "bundle", "made", "interactions", "encoder"], cells))


def models_activate(
    bundle: Annotated[str, typer.Argument(help="bundle id, see `lifeloop models list`")],
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Make a bundle the active one."""
    with opened(folder, as_json=as_json) as loop:
        loop.activate(bundle)
    _activated(bundle, as_json=as_json)


def models_rollback(folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """Go back to the bundle that was active before the present one."""
    with opened(folder, as_json=as_json) as loop:
        bundle = loop.rollback()
    _activated(bundle, as_json=as_json)


def show_manifest(manifest: Any) -> None:
    """Print what was trained."""
    seconds = sum(manifest["seconds"].values())
    rows = [
        ["bundle", manifest["bundle"]],
        ["as of", f"{_when(manifest['as_of_us'])} ({manifest['as_of_why']})"],
        ["users", f"{manifest['users']:,}"],
        ["items", f"{manifest['items']:,} ({manifest['distinct_texts']:,} distinct texts)"],
        ["interactions", f"{manifest['interactions']:,}"],
        ["text encoder", manifest["encoder"]],
        ["seconds", f"{seconds:.1f}"],
    ]
    out.print(table("trained", ["", ""], rows))
    for note in manifest["notes"]:
        out.print(f"· {note}", markup=False, highlight=False)


def _activated(bundle: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"active": bundle})
    else:
        out.print(f"active: {bundle}", highlight=False)


def _when(t_us: int) -> str:
    return datetime.fromtimestamp(t_us / 1e6, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
