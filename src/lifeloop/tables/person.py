"""One user's life: every move between stages with its rule, and the events behind it."""

from typing import Any

import polars as pl

from lifeloop.config import Scenario
from lifeloop.contracts import UNTIMED, History
from lifeloop.lifecycle import StageDefinitions, transitions
from lifeloop.lifecycle.calendar import date_of, days_of

ROLES = ("joins", "activates", "orders", "refunds", "ends", "passive")
"""What an event can do to a stage, as ``StageDefinitions`` names it."""


def why_of(
    history: History,
    scenario: Scenario,
    *,
    as_of_us: int,
    limit: int = 20,
    predictions: pl.DataFrame | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Return the ``moves`` of a user and the newest ``events`` behind them."""
    definitions, zone = StageDefinitions.of(scenario), scenario.locale.zone
    given: dict[str, Any] = {"definitions": definitions, "zone": zone, "as_of_us": as_of_us}
    return {
        "moves": moves_of(history, predictions=predictions, **given),
        "events": events_of(history, limit=limit, **given),
    }


def moves_of(
    history: History,
    *,
    definitions: StageDefinitions,
    zone: str,
    as_of_us: int,
    predictions: pl.DataFrame | None = None,
) -> list[dict[str, Any]]:
    """Return every move of one user between stages, oldest first: date, from, to, rule.

    Parameters
    ----------
    history : History
        Everything the user did.
    definitions : StageDefinitions
        The rules.
    zone : str
        IANA zone of days.
    as_of_us : int
        Events at or after it are invisible.
    predictions : DataFrame, optional
        What ``lifecycle.predictions.predicted`` says of the user, for the stages to follow.
    """
    frame = _frame(history)
    if frame.filter(pl.col("t_us") < as_of_us).is_empty():
        return []
    given: Any = {"definitions": definitions, "zone": zone, "as_of": as_of_us}
    rows = transitions(frame, predictions=predictions, members=True, **given)
    return [
        {**row, "date": row["date"].isoformat()}
        for row in rows.select("date", "from", "to", "rule").iter_rows(named=True)
    ]


def events_of(
    history: History, *, definitions: StageDefinitions, zone: str, as_of_us: int, limit: int = 20
) -> list[dict[str, Any]]:
    """Return the newest events that count for a user, oldest first, and what each one does.

    What only happened to the user (an impression, a message) is left out.

    Returns
    -------
    list of dict
        date (local day), type, item_id, order_id, value, role: the entries of ``ROLES`` that the
        type is in, "activity" where it is none of them, "bot" where it does not count.
    """
    silent = [kind for kind in set(history.type) if _role(kind, definitions) == "passive"]
    frame = _frame(history).filter(pl.col("t_us") < as_of_us, ~pl.col("type").is_in(silent))
    frame = frame.tail(limit)
    days = days_of(frame["t_us"].to_numpy(), zone)
    rows = []
    for day, row in zip(days.tolist(), frame.iter_rows(named=True), strict=True):
        rows.append(
            {
                "date": date_of(day).isoformat(),
                "type": row["type"],
                "item_id": row["item_id"],
                "order_id": row["order_id"],
                "value": row["value"],
                "role": "bot" if row["is_bot"] else _role(row["type"], definitions),
            }
        )
    return rows


def _role(kind: str, d: StageDefinitions) -> str:
    found = [name for name in ROLES if kind in getattr(d, name)]
    return ", ".join(found) or "activity"


def _frame(history: History) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "user_id": [history.user_id] * len(history),
            "t_us": history.t_us,
            "type": history.type,
            "seq": history.seq,
            "item_id": history.item_id,
            "order_id": history.order_id,
            "value": history.value,
            "is_bot": history.is_bot,
        },
        schema={
            "user_id": pl.String,
            "t_us": pl.Int64,
            "type": pl.String,
            "seq": pl.Int64,
            "item_id": pl.String,
            "order_id": pl.String,
            "value": pl.Float64,
            "is_bot": pl.Boolean,
        },
    )
    return frame.filter(pl.col("t_us") != UNTIMED).with_columns(pl.col("value").fill_nan(None))
