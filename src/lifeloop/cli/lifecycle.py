"""Commands of the lifecycle: the overview, any table, cohorts, the users of a stage."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lifeloop.cli.session import AsJson, Folder, opened, out, print_json, table
from lifeloop.cli.tables import (
    AsCsv,
    By,
    End,
    Grain,
    Lang,
    Limit,
    Members,
    Png,
    Start,
    Where,
    draw,
    number,
    pairs,
    plain_grid,
    print_whole,
    show_matrix,
    spark,
    write,
)
from lifeloop.errors import InputError


def lifecycle(
    grain: Grain = "week",
    lang: Lang = None,
    picture: Png = None,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Show the five stages: users, key metrics, the last complete period against the one before."""
    with opened(folder, as_json=as_json) as loop:
        said = lang or loop.scenario.locale.language
        overview = loop.lifecycle(grain=grain, lang=said)
        if picture is not None:
            draw(loop.table("stage_counts", grain=grain, lang=said), picture, lang=said)
    if as_json:
        print_json(overview.to_json())
    else:
        show_overview(overview, lang=said)


def metrics(
    name: Annotated[str | None, typer.Argument(help="table; without one, all are listed")] = None,
    start: Start = None,
    end: End = None,
    grain: Grain = "week",
    by: By = None,
    where: Where = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="name=value of the table's own options, repeatable"),
    ] = None,
    members: Members = False,
    include_bots: Annotated[
        bool, typer.Option("--include-bots", help="count events flagged as of bots")
    ] = False,
    lang: Lang = None,
    limit: Limit = 30,
    picture: Png = None,
    as_csv: AsCsv = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Show a lifecycle table: retention, growth_accounting, orders, activation, …"""
    if name is None:
        _list(lang or "en", as_json=as_json)
        return
    own = {key: values[-1] for key, values in pairs(option, option="--option").items()}
    with opened(folder, as_json=as_json) as loop:
        said = lang or loop.scenario.locale.language
        found = loop.table(
            name,
            start=start,
            end=end,
            grain=grain,
            by=by,
            where=pairs(where, option="--where"),
            members=members,
            include_bots=include_bots,
            lang=said,
            **own,
        )
        write(found, as_json=as_json, as_csv=as_csv, picture=picture, limit=limit, lang=said)


def cohorts(
    kind: Annotated[str, typer.Option(help="nday, unbounded or bracket")] = "nday",
    cohort: Annotated[str, typer.Option(help="first (period ever) or recurring")] = "first",
    curve: Annotated[bool, typer.Option("--curve", help="the mean over all cohorts")] = False,
    max_offset: Annotated[int | None, typer.Option(help="largest offset")] = None,
    brackets: Annotated[
        str | None, typer.Option(help="offsets of --kind bracket: 1-7,8-14")
    ] = None,
    start: Start = None,
    end: End = None,
    grain: Grain = "week",
    by: By = None,
    where: Where = None,
    lang: Lang = None,
    limit: Limit = 26,
    picture: Png = None,
    as_csv: AsCsv = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Show how many of each cohort are back after k periods; with --png as a heat map."""
    with opened(folder, as_json=as_json) as loop:
        said = lang or loop.scenario.locale.language
        found = loop.table(
            "retention_curve" if curve else "retention",
            kind=kind,
            cohort=cohort,
            max_offset=max_offset,
            brackets=brackets,
            start=start,
            end=end,
            grain=grain,
            by=by,
            where=pairs(where, option="--where"),
            lang=said,
        )
        if as_json or as_csv or picture is not None or curve or by or brackets or found.reason:
            write(found, as_json=as_json, as_csv=as_csv, picture=picture, limit=limit, lang=said)
        else:
            show_matrix(found, lang=said, limit=limit)


def users(
    stage: Annotated[str | None, typer.Option(help="only users of whom this is shown")] = None,
    by: By = None,
    where: Where = None,
    lang: Lang = None,
    limit: Limit = 30,
    as_csv: AsCsv = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """List users with their stage, and the rule that put them there."""
    import polars as pl

    from lifeloop.lifecycle import SHOWN

    with opened(folder, as_json=as_json) as loop:
        if stage is not None and stage not in SHOWN:
            raise InputError("unknown stage", got=stage, allowed=", ".join(SHOWN))
        said = lang or loop.scenario.locale.language
        found = loop.table("stages", by=by, where=pairs(where, option="--where"), lang=said)
        if stage is not None and found.reason is None:
            from dataclasses import replace

            found = replace(found, rows=found.rows.filter(pl.col("stage") == stage))
        write(found, as_json=as_json, as_csv=as_csv, picture=None, limit=limit, lang=said)


def daily(folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """Bring the materialised daily state up to date: only users with news are computed again."""
    import time

    with opened(folder, as_json=as_json) as loop:
        started = time.perf_counter()
        found = loop.daily()
    body = {
        "how": found.how,
        "why": found.why,
        "users_touched": found.users_touched,
        "users": len(found.daily.people),
        "user_days": len(found.daily.days),
        "seq": found.seq,
        "seconds": round(time.perf_counter() - started, 3),
    }
    if as_json:
        print_json(body)
    else:
        out.print(table("daily state", ["", ""], [[name, value] for name, value in body.items()]))


def show_overview(overview: Any, *, lang: str) -> None:
    """Print users per stage and the key metrics."""
    from lifeloop.charts import words

    said = words(lang)
    stages, metrics = overview.stages, overview.metrics
    total = f"{stages.rows['users'].sum():,} {said.column('users')}"
    out.print(f"[bold]{total}[/bold] · {said.note('as_of', **stages.facts)}", highlight=False)
    grid = plain_grid(said, ("stage",), ("users", "share", "before", "change"), ("reason",))
    for row in stages.rows.iter_rows(named=True):
        grid.add_row(
            said.value(row["stage"]),
            number(row["users"], "integer"),
            number(row["share"], "share"),
            number(row["before"], "integer"),
            _change(row["change"], "integer"),
            row["reason"] or "",
        )
    print_whole(grid)
    numbers = ("value", "before", "change", "n")
    grid = plain_grid(said, ("metric",), numbers, ("trend", "period"))
    unknown: dict[str, list[str]] = {}
    for (stage,), rows in metrics.rows.group_by("stage", maintain_order=True):
        grid.add_row(f"[bold]{said.value(str(stage))}[/bold]")
        for row in rows.iter_rows(named=True):
            name = said.value(row["metric"])
            if row["reason"] is not None:
                unknown.setdefault(row["reason"], []).append(name)
                continue
            grid.add_row(
                f"  {name}",
                number(row["value"], row["unit"]),
                number(row["before"], row["unit"]),
                _change(row["change"], row["unit"]),
                "" if row["n"] is None else number(row["n"], "integer"),
                spark(row["recent"]),
                str(row["period"]),
            )
    out.print(f"[bold]{metrics.title}[/bold]", highlight=False)
    print_whole(grid)
    for reason, names in unknown.items():
        out.print(f"· {', '.join(names)}: {reason}", markup=False, highlight=False)
    for note in overview.notes:
        out.print(f"· {note}", markup=False, highlight=False)


def _change(change: float | None, unit: str) -> str:
    if change is None:
        return "–"
    return f"{100 * change:+.1f} pp" if unit == "share" else f"{100 * change:+.1f}%"


def _list(lang: str, *, as_json: bool) -> None:
    from lifeloop.cli.session import failing_well
    from lifeloop.tables import describe

    with failing_well(as_json=as_json):
        rows = describe(lang)
    if as_json:
        print_json({"tables": rows})
        return
    cells: list[list[Any]] = [
        [r["name"], r["stage"], r["help"], ", ".join(o["name"] for o in r["options"]) or None]
        for r in rows
    ]
    out.print(table("lifeloop metrics NAME", ["name", "stage", "what", "options"], cells))
