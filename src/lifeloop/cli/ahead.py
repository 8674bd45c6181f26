"""Commands of what is to come: value, forecast, churn, ltv."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lifeloop.cli.session import AsJson, Folder, opened, out, print_json, table
from lifeloop.cli.tables import AsCsv, By, Grain, Lang, Limit, Png, Where, number, pairs, write

Members = Annotated[bool, typer.Option("--members", help="the users behind the numbers instead")]
Backtest = Annotated[
    bool, typer.Option("--backtest", help="hide the newest days and say how far off it was")
]
Calibration = Annotated[
    bool, typer.Option("--calibration", help="stated beside actual, by tenth of the users")
]
Horizon = Annotated[int | None, typer.Option("--days", help="days ahead; default: see the table")]


def value(
    of: Annotated[
        str, typer.Option(help="stages (product stages) or states (activity)")
    ] = "stages",
    moves: Annotated[bool, typer.Option("--moves", help="what each move is worth")] = False,
    store: Annotated[
        bool,
        typer.Option("--store", help="keep predicted value and P(alive) of each month, for stages"),
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="with --store: make kept months anew")
    ] = False,
    days: Horizon = None,
    by: By = None,
    where: Where = None,
    members: Members = False,
    lang: Lang = None,
    limit: Limit = 30,
    picture: Png = None,
    as_csv: AsCsv = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Say what a user of each stage is worth under today's policy, and which move is worth most."""
    given = {"of": of, "horizon_days": days, "by": by, "members": members}
    with opened(folder, as_json=as_json) as loop:
        if store:
            _stored(loop.foretell(again=again), as_json=as_json)
            return
        said = lang or loop.scenario.locale.language
        asked = {**given, "where": pairs(where, option="--where"), "lang": said}
        found = loop.table("move_value" if moves else "stage_value", **asked)
        write(found, as_json=as_json, as_csv=as_csv, picture=picture, limit=limit, lang=said)
        plain = not (as_json or as_csv or picture or moves or members or found.reason)
        if plain:
            _best_move(loop.table("move_value", **asked), lang=said)


def forecast(
    of: Annotated[str, typer.Option(help="states (activity) or stages (product)")] = "states",
    days: Horizon = None,
    backtest: Backtest = False,
    by: By = None,
    where: Where = None,
    members: Members = False,
    lang: Lang = None,
    limit: Limit = 49,
    picture: Png = None,
    as_csv: AsCsv = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Forecast the users of each activity state or product stage, with intervals."""
    name = "forecast_backtest" if backtest else "forecast"
    asked = {"of": of, "horizon_days": days, "by": by, "members": members}
    _one(name, asked, where, lang, limit, picture, as_csv, folder, as_json=as_json)


def churn(
    survival: Annotated[
        bool, typer.Option("--survival", help="the survival curve (Kaplan-Meier)")
    ] = False,
    effects: Annotated[
        bool, typer.Option("--effects", help="what goes with churning sooner (Cox)")
    ] = False,
    calibration: Calibration = False,
    backtest: Backtest = False,
    until: Annotated[str, typer.Option(help="of --survival: churn or next_order")] = "churn",
    days: Horizon = None,
    by: By = None,
    where: Where = None,
    members: Members = False,
    lang: Lang = None,
    limit: Limit = 30,
    picture: Png = None,
    as_csv: AsCsv = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """List who may churn, why, and the value at risk; or the survival curve, or how good it was."""
    asked: dict[str, Any] = {"by": by, "members": members}
    if survival or effects:
        name, asked["until"] = "survival" if survival else "churn_effects", until
    else:
        name = "churn_calibration" if calibration else "churn_risk"
        name, asked["within_days"] = "churn_backtest" if backtest else name, days
    _one(name, asked, where, lang, limit, picture, as_csv, folder, as_json=as_json)


def ltv(
    customers: Annotated[
        bool, typer.Option("--customers", help="every customer, the most valuable first")
    ] = False,
    age: Annotated[bool, typer.Option("--age", help="what users had brought by each age")] = False,
    calibration: Calibration = False,
    backtest: Backtest = False,
    days: Horizon = None,
    grain: Grain = "month",
    by: By = None,
    where: Where = None,
    members: Members = False,
    lang: Lang = None,
    limit: Limit = 30,
    picture: Png = None,
    as_csv: AsCsv = False,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Predict the lifetime value of today's customers, with intervals, per segment with --by."""
    asked: dict[str, Any] = {"by": by, "members": members}
    if age:
        name, asked["grain"] = "ltv_by_age", grain
    else:
        name = "customer_value" if customers else "predicted_ltv"
        name = "ltv_calibration" if calibration else "ltv_backtest" if backtest else name
        asked["horizon_days"] = days
    _one(name, asked, where, lang, limit, picture, as_csv, folder, as_json=as_json)


def _one(
    name: str,
    asked: dict[str, Any],
    where: list[str] | None,
    lang: str | None,
    limit: int,
    picture: Path | None,
    as_csv: bool,
    folder: Path,
    *,
    as_json: bool,
) -> None:
    with opened(folder, as_json=as_json) as loop:
        said = lang or loop.scenario.locale.language
        found = loop.table(name, where=pairs(where, option="--where"), lang=said, **asked)
        write(found, as_json=as_json, as_csv=as_csv, picture=picture, limit=limit, lang=said)


def _stored(done: Any, *, as_json: bool) -> None:
    if as_json:
        print_json({"new": done.new, "months": done.months.to_dicts()})
        return
    names = ["month", "model", "version", "users", "reason"]
    rows = [[row[name] for name in names] for row in done.months.iter_rows(named=True)]
    out.print(table("predictions kept", names, rows))
    out.print(f"· {done.new} months are new", markup=False, highlight=False)


def _best_move(table: Any, *, lang: str) -> None:
    from lifeloop.charts import words

    if table.rows.is_empty():
        return
    said, best = words(lang), table.rows.row(0, named=True)
    told = said.note(
        "best_move",
        before=said.value(best["from"]),
        after=said.value(best["to"]),
        gain=number(best["gain"], "money"),
        low=number(best["gain_low"], "money"),
        high=number(best["gain_high"], "money"),
        n=number(best["n"], "integer"),
    )
    out.print(f"· {told}", markup=False, highlight=False)
