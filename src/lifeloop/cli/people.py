"""Commands about one user or item: recommend, predict, similar, stage; and all stages."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lifeloop.cli.session import AsJson, Folder, err, opened, out, print_json, table

UserId = Annotated[str, typer.Argument(help="user id, or anon:<anonymous id>")]
ItemId = Annotated[str, typer.Argument(help="item id")]
Count = Annotated[int, typer.Option("-k", "--count", min=1, max=1000, help="how many")]


def recommend(
    user: UserId,
    k: Count = 10,
    context: Annotated[
        str | None,
        typer.Option(help='JSON, such as {"query": "oat milk", "items": ["42"]}'),
    ] = None,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Recommend items to a user, each with a true reason."""
    asked = _context(context)
    with opened(folder, as_json=as_json) as loop:
        answer = loop.recommend(user, k=k, context=asked)
    if as_json:
        print_json(answer.to_dict())
    else:
        show_recommendations(answer)


def predict(
    user: UserId, item: ItemId, folder: Folder = Path("."), as_json: AsJson = False
) -> None:
    """Predict the rating a user would give to an item."""
    with opened(folder, as_json=as_json) as loop:
        answer = loop.predict(user, item)
    if as_json:
        print_json(asdict(answer))
    elif answer.value is None:
        out.print(f"no prediction: {answer.reason}", highlight=False)
    else:
        why = f" ({answer.reason})" if answer.reason else ""
        out.print(f"{answer.value:.2f} from {answer.basis}{why}", highlight=False)


def similar(
    item: ItemId, k: Count = 10, folder: Folder = Path("."), as_json: AsJson = False
) -> None:
    """List items like this one, by use and by content."""
    with opened(folder, as_json=as_json) as loop:
        rows = loop.similar(item, k=k)
    if as_json:
        print_json({"item_id": item, "similar": [asdict(row) for row in rows]})
        return
    cells: list[list[Any]] = [[r.rank, r.item_id, r.title, r.score, r.source] for r in rows]
    out.print(table(f"like {item}", ["#", "item", "title", "score", "source"], cells))


def stage(
    user: UserId,
    why: Annotated[bool, typer.Option("--why", help="show the rule and the events")] = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Say where a user stands in their life with the product."""
    with opened(folder, as_json=as_json) as loop:
        found = loop.stage(user)
        told = loop.why(user) if why else {}
    if as_json:
        print_json({**asdict(found), **told})
        return
    out.print(f"[bold]{found.stage}[/bold] on {found.date}", highlight=False)
    if why:
        rows: list[list[Any]] = [
            ["product stage", found.product_stage],
            ["overlay", found.overlay],
            ["activity", found.activity],
            ["since", found.since],
            ["rule", found.rule],
            ["days since last active", found.gap_days],
            ["was here before the log", found.existing],
            *[[name, value] for name, value in found.facts.items()],
        ]
        out.print(table("", ["", ""], rows))
        _show_why(told)


def _show_why(told: dict[str, Any]) -> None:
    moves = [[m["date"], m["from"], m["to"], m["rule"]] for m in told["moves"]]
    if moves:
        out.print(table("moves", ["date", "from", "to", "rule"], moves))
    names = ["date", "type", "item_id", "order_id", "value", "role"]
    events = [[event[name] for name in names] for event in told["events"]]
    if events:
        out.print(table(f"the newest {len(events)} events", names, events))


def stages(folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """Count the users in each stage, and say which stages this data cannot show and why."""
    with opened(folder, as_json=as_json) as loop:
        overview = loop.stages()
    if as_json:
        print_json(overview)
    else:
        show_stages(overview)


def show_stages(overview: dict[str, Any]) -> None:
    """Print users per stage and what cannot be seen."""
    rows = [[s["stage"], s["users"], s["share"], s["unseen"]] for s in overview["stages"]]
    title = f"{overview['users']:,} users as of {overview['as_of']} ({overview['as_of_why']})"
    out.print(table(title, ["stage", "users", "share", "why there may be none"], rows))
    for note in overview["notes"]:
        out.print(f"· {note}", markup=False, highlight=False)


def show_recommendations(answer: Any) -> None:
    """Print a slate as a table with its reasons."""
    title = f"for {answer.user_id} ({answer.stage})"
    if answer.fallback:
        title += f" · fallback: {answer.fallback}"
    cells: list[list[Any]] = [
        [r.rank, r.item_id, r.title, r.score, r.source, r.reason.text] for r in answer
    ]
    out.print(table(title, ["#", "item", "title", "score", "source", "why"], cells))
    if answer.shortfall:
        out.print(f"· {answer.shortfall}", markup=False, highlight=False)
    if answer.context_unused:
        names = ", ".join(answer.context_unused)
        out.print(f"· of the context only logged, not used: {names}", markup=False, highlight=False)


def _context(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        parsed = json.loads(text)
    except ValueError as error:
        err.print(f"--context is not JSON: {error}", markup=False)
        raise typer.Exit(2) from None
    if not isinstance(parsed, dict):
        err.print("--context must be a JSON object", markup=False)
        raise typer.Exit(2)
    return parsed
