"""The whole lifecycle at one moment: users per stage, and what this data cannot show."""

from typing import Any

import polars as pl

from lifeloop.config import Scenario
from lifeloop.contracts import Store
from lifeloop.lifecycle import StageDefinitions, observable
from lifeloop.lifecycle import stages as stages_of
from lifeloop.moment import Moment
from lifeloop.screening import screened

ORDER = (
    "acquisition",
    "activation",
    "retention",
    "conversion",
    "loyalty",
    "at_risk",
    "churned",
    "resurrected",
)
"""Stages as they are shown: the five of the product, then what may lie over them."""


def stage_table(
    store: Store, scenario: Scenario, *, moment: Moment, predictions: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Return one row per user with the stage at ``moment`` (``lifecycle.STAGE_SCHEMA``)."""
    events = screened(store.snapshot(as_of_us=moment.as_of_us), scenario).events
    return stages_of(
        events.filter(pl.col("t_us").is_not_null()),
        definitions=StageDefinitions.of(scenario),
        zone=scenario.locale.zone,
        as_of=moment.as_of_us,
        predictions=predictions,
    )


def stages(
    store: Store, scenario: Scenario, *, moment: Moment, predictions: pl.DataFrame | None = None
) -> dict[str, Any]:
    """Return users per stage, their share, why a stage cannot be seen, and notes.

    Returns
    -------
    dict
        ``users``, ``as_of``, ``as_of_why``, ``existing`` (here before the log), ``stages``: a
        list of {stage, users, share, unseen} in the order of ``ORDER``, and ``notes``.
    """
    table = stage_table(store, scenario, moment=moment, predictions=predictions)
    counted = dict(table.group_by("stage").len().iter_rows())
    why = observable(
        store.event_types(),
        StageDefinitions.of(scenario),
        first_us=store.first_event_us(),
        last_us=store.last_event_us(),
        zone=scenario.locale.zone,
    )
    n_users = table.height
    existing = int(table["existing"].sum()) if n_users else 0
    return {
        "users": n_users,
        "as_of": moment.as_of.isoformat(timespec="seconds"),
        "as_of_why": moment.why,
        "existing": existing,
        "stages": [
            {
                "stage": stage,
                "users": int(counted.get(stage, 0)),
                "share": counted.get(stage, 0) / n_users if n_users else None,
                "unseen": why.get(stage),
            }
            for stage in ORDER
        ],
        "notes": _notes(store, scenario, existing=existing, n_users=n_users, new=why.get("new")),
    }


def examples(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Return one typical user of each stage present: the one of middle activity."""
    found = []
    for stage in ORDER:
        rows = table.filter(pl.col("stage") == stage).sort(["orders", "key_actions", "user_id"])
        if rows.height:
            found.append(rows.row(rows.height // 2, named=True))
    return found


def _notes(
    store: Store, scenario: Scenario, *, existing: int, n_users: int, new: str | None
) -> list[str]:
    notes = []
    if existing:
        notes.append(
            f"{existing:,} of {n_users:,} users were first seen in the first "
            f"{scenario.time.burn_in_days} days of the log: they are existing users, not new ones"
        )
    if new:
        notes.append(new)
    counts = store.counts()
    unplaced = counts["users"] - n_users
    if unplaced > 0:
        notes.append(f"{unplaced:,} or more known users have no event with a time and no stage")
    return notes
