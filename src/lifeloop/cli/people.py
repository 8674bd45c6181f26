"""Commands about one user or item: recommend, predict, similar, stage; and all stages."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lifeloop.cli.session import AsJson, Folder, err, opened, out, print_json, table
from lifeloop.cli.tables import Lang

if TYPE_CHECKING:
    from lifeloop.charts.words import Words

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
    lang: Lang = None,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Say where a user stands in their life with the product."""
    with opened(folder, as_json=as_json) as loop:
        found = loop.stage(user)
        told = loop.why(user) if why else {}
        language = lang or loop.scenario.locale.language
    if as_json:
        print_json({**asdict(found), **told})
        return
    from lifeloop.charts import words

    said = words(language)
    head = said.note("stands", stage=f"[bold]{said.value(found.stage)}[/bold]", date=found.date)
    out.print(head, highlight=False)
    if why:
        rows: list[list[Any]] = [
            [said.column("product_stage"), said.value(found.product_stage)],
            [said.column("overlay"), _value(said, found.overlay)],
            [said.column("activity"), _value(said, found.activity)],
            [said.column("since"), found.since],
            [said.column("rule"), said.rule(found.rule)],
            [said.column("gap_days"), found.gap_days],
            [said.column("existing"), found.existing],
            *[[said.column(name), value] for name, value in found.facts.items()],
        ]
        out.print(table("", ["", ""], rows))
        _show_why(told, said)


def _value(said: "Words", name: str | None) -> str | None:
    return None if name is None else said.value(name)


def _show_why(told: dict[str, Any], said: "Words") -> None:
    moves = [
        [m["date"], _value(said, m["from"]), said.value(m["to"]), said.rule(m["rule"])]
        for m in told["moves"]
    ]
    if moves:
        headings = [said.column(name) for name in ("date", "from", "to", "rule")]
        out.print(table(said.title("transitions"), headings, moves))
    names = ["date", "type", "item_id", "order_id", "value", "role"]
    events = [[event[name] for name in names[:-1]] + [_roles(said, event["role"])]
              for event in told["events"]]  # fmt: skip
    if events:
        title = said.note("newest_events", n=len(events))
        out.print(table(title, [said.column(name) for name in names], events))


def _roles(said: "Words", role: str) -> str:
    return ", ".join(said.value(f"role_{name}") for name in role.split(", "))


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
    for key, near in answer.context_hints.items():
        out.print(f"· {key!r} is not read; did you mean {near!r}?", markup=False, highlight=False)


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
