"""How good the models are on what is stored: the evaluation protocols over one store."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from lifeloop.cleaning import REPORTS
from lifeloop.config import Scenario
from lifeloop.contracts import UNTIMED, History, Progress, Store, silent
from lifeloop.encoders import VectorCache
from lifeloop.evaluate import Catalogue, Report, Split, evaluate, leave_one_out, time_split
from lifeloop.lifecycle import StageDefinitions, stage_of, stages
from lifeloop.model import material
from lifeloop.models import build
from lifeloop.moment import Moment
from lifeloop.reading import encode_items
from lifeloop.screening import screened
from lifeloop.written import Told, Writings

Protocol = Literal["loo", "time"]
DEFAULT_MODELS = ("popularity", "lifeloop")

REPORT = "evaluation.json"
"""The last evaluation of what is stored, in the project's folder of reports."""


def measure(
    store: Store,
    scenario: Scenario,
    *,
    home: Path,
    moment: Moment,
    models: Sequence[str] = DEFAULT_MODELS,
    protocol: Protocol = "time",
    k: int = 10,
    repeats: bool = False,
    progress: Progress = silent,
) -> Report:
    """Fit models on the past of the store and ask them for what came next.

    Parameters
    ----------
    models : sequence of str
        Names of ``lifeloop.models.build``.
    protocol : {"time", "loo"}
        Global time split (what deployment looks like) or leave-one-out.
    repeats : bool
        Items already used may be recommended and are targets (groceries).

    Raises
    ------
    InputError
        Unknown model, or data that cannot be split this way (no times; one event per user).
    """
    snapshot = screened(store.snapshot(as_of_us=moment.as_of_us), scenario)
    found = material(snapshot, scenario)
    interactions = found.interactions.filter(~pl.col("type").is_in(scenario.passive_types))
    split = (
        leave_one_out(interactions, repeats=repeats)
        if protocol == "loo"
        else time_split(interactions, repeats=repeats)
    )
    encoded = encode_items(
        found.items,
        scenario.models,
        cache=VectorCache(home / "cache"),
        home=home,
        interactions=split.train,
        progress=progress,
    )
    stage_at = stages_at_request(snapshot.events, split, scenario)
    catalogue = Catalogue(
        found.items["item_id"].to_list(), encoded.content, encoded.content_ix, encoded.blocks
    )
    reader, text = encoded.reader, scenario.models.text
    wrote = Told.of(snapshot, text)  # texts are read only where a ranker asks for them
    del snapshot, found, split  # the fits need the memory
    horizon: Literal["last", "time"] = "last" if protocol == "loo" else "time"
    specifications = build(models, scenario.models, horizon=horizon, repeats=repeats)
    return evaluate(
        interactions,
        {s.name: s for s in specifications},
        protocol=protocol,
        catalogue=catalogue,
        k=k,
        stage_of=stage_at,
        repeats=repeats,
        written=None if reader is None else lambda ids: Writings.of(reader, wrote, ids, text),
        rng=np.random.default_rng(scenario.models.seed),
        progress=progress,
    )


def stages_at_request(events: pl.DataFrame, split: Split, scenario: Scenario) -> dict[str, str]:
    """Return each asked user's stage at their request, by what was known then."""
    definitions = StageDefinitions.of(scenario)
    zone = scenario.locale.zone
    timed = events.filter(pl.col("t_us").is_not_null())
    if timed.is_empty():
        return {}
    if split.protocol == "time":
        table = stages(timed, definitions=definitions, zone=zone, as_of=split.as_of_us)
        return dict(zip(table["user_id"].to_list(), table["stage"].to_list(), strict=True))
    asked = timed.filter(pl.col("user_id").is_in(list(split.request_us)))
    start_us = int(timed["t_us"].min())  # type: ignore[arg-type]  # not empty, no nulls
    return {
        history.user_id: stage_of(
            history,
            definitions=definitions,
            zone=zone,
            as_of_us=split.request_us[history.user_id],
            log_start_us=start_us,
        ).stage
        for history in _histories(asked)
    }


def _histories(events: pl.DataFrame) -> list[History]:
    found = []
    for (user_id,), rows in events.group_by(["user_id"], maintain_order=True):
        number = {
            name: rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
            for name in ("value", "quantity", "rating")
        }
        found.append(
            History(
                user_id=str(user_id),
                known=True,
                type=tuple(rows["type"].to_list()),
                item_id=tuple(rows["item_id"].to_list()),
                t_us=rows["t_us"].fill_null(UNTIMED).to_numpy(),
                order_id=tuple(rows["order_id"].to_list()),
                text=(None,) * rows.height,
                is_bot=rows["is_bot"].fill_null(value=False).to_numpy(),
                seq=rows["seq"].to_numpy(),
                **number,
            )
        )
    return found


def keep_report(body: Mapping[str, Any], home: Path) -> Path:
    """Write an evaluation below the project folder, for the dashboard; return the file."""
    path = home / REPORTS / REPORT
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, indent=1)
    path.write_text(text, encoding="utf-8")
    return path
