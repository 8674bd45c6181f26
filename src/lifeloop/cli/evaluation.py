"""The command that measures models, on the project's own store or on a data set."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lifeloop.cli.session import AsJson, Folder, Quiet, failing_well, opened, out, print_json, table

if TYPE_CHECKING:
    from lifeloop.contracts import Progress
    from lifeloop.evaluate import Report

SHOWN = ("hr", "ndcg", "recall")


def evaluate(
    data: Annotated[
        str | None,
        typer.Option(
            help="completejourney, movielens, world or a folder; without it, this project's store"
        ),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="time (global time split) or loo (leave one out)")
    ] = "time",
    models: Annotated[
        str, typer.Option(help="names, with commas: popularity,ease,lifeloop, …")
    ] = "popularity,lifeloop",
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="length of the lists")] = 10,
    repeats: Annotated[
        bool, typer.Option("--repeats", help="items already used may come back (groceries)")
    ] = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit models on the past and ask for what came next, with intervals, by stage."""
    from lifeloop.cli.progress import bars
    from lifeloop.measure import keep_report

    options: dict[str, Any] = {
        "models": [name.strip() for name in models.split(",") if name.strip()],
        "protocol": protocol,
        "k": k,
        "repeats": repeats,
    }
    with failing_well(as_json=as_json), bars(quiet=quiet or as_json) as progress:
        if data is None:
            with opened(folder, as_json=as_json) as loop:
                report = loop.evaluate(progress=progress, **options)
                body = report.to_dict(data=str(folder))
                keep_report(body, loop.home)
        else:
            body = evaluate_data(data, progress=progress, **options).to_dict(data=data)
    if as_json:
        print_json(body)
    else:
        show_report(body)


def evaluate_data(data: str, *, progress: "Progress", **options: Any) -> "Report":
    """Import a data set into a throw-away project, through the public path, and measure."""
    from lifeloop.cli.demo import import_dataset, open_dataset
    from lifeloop.home import init
    from lifeloop.loop import Lifeloop

    with tempfile.TemporaryDirectory(prefix="lifeloop-evaluate-") as work:
        found = open_dataset(data, Path(work))
        init(Path(work) / "project", scenario=found.scenario, zone=found.zone)
        with Lifeloop.open(Path(work) / "project") as loop:
            import_dataset(loop, found, progress=progress)
            return loop.evaluate(progress=progress, **options)


def show_report(body: dict[str, Any]) -> None:
    """Print the accuracy of each model with its interval, the paired differences, the stages."""
    k = body["k"]
    metrics = [f"hr@{k}", f"ndcg@{k}", "recall@20"]
    rows: list[list[Any]] = []
    for name, found in body["models"].items():
        cells = [_with_interval(found, metric) for metric in metrics]
        rows.append([name, *cells, found[f"coverage@{k}"], found["fit_s"]])
    title = (
        f"{body['data']} · {body['protocol']} · {body['n_users']:,} users, "
        f"{body['n_items']:,} items · targets {body['targets_hash'][:12]}"
    )
    out.print(table(title, ["model", *metrics, f"coverage@{k}", "fit s"], rows))
    compared = [
        [names, d["diff"], d["lo"], d["hi"], d["p"]]
        for names, measures in body["paired"].items()
        for d in [measures[f"ndcg@{k}"]]
    ]
    if compared:
        title = f"ndcg@{k}, paired by user (95% bootstrap interval)"
        out.print(table(title, ["difference", "mean", "low", "high", "p"], compared))
    by_stage: list[list[Any]] = [
        [name, stage, part["n"], part[f"ndcg@{k}"]]
        for name, found in body["models"].items()
        for stage, part in found["by_stage"].items()
    ]
    if by_stage:
        out.print(table("by stage", ["model", "stage", "users", f"ndcg@{k}"], by_stage))
    for note in body["notes"]:
        out.print(f"· {note}", markup=False, highlight=False)


def _with_interval(found: dict[str, Any], metric: str) -> str:
    low, high = found[f"{metric}_ci"]
    return f"{found[metric]:.4f} [{low:.4f}, {high:.4f}]"
