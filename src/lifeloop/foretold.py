"""Predicted value and P(alive) of every customer, month by month, kept beside the store.

A month's column is made once, of what was known before its first day, and stays: it is what was
predicted then. ``predictions/`` of the project holds one Parquet file and a manifest that names it
and says which model of which version made each month; the manifest is replaced last.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lifeloop.errors import Unfit
from lifeloop.lifecycle.calendar import date_of, number_of, start_of_day_us
from lifeloop.lifecycle.clv import Prediction, Terms, predict
from lifeloop.lifecycle.ltv import SEED, purchase_days
from lifeloop.lifecycle.predictions import predicted
from lifeloop.tables.source import Source
from lifeloop.tables.valued import terms_of

FOLDER = "predictions"
MANIFEST = "manifest.json"
SCHEMA = {
    "user_id": pl.String,
    "month": pl.Date,
    "predicted_value": pl.Float64,
    "p_alive": pl.Float64,
    "version": pl.String,
}
"""The columns that are kept; ``predicted_value`` in the scenario's currency."""

MONTHS = {
    "month": pl.String,
    "version": pl.String,
    "model": pl.String,
    "users": pl.Int64,
    "seq": pl.Int64,
    "reason": pl.String,
}


@dataclass(frozen=True, slots=True)
class Foretelling:
    """What ``foretell`` did: every month that is kept (``MONTHS``), and how many are new."""

    months: pl.DataFrame
    new: int


def foretell(source: Source, home: Path, *, again: bool = False) -> Foretelling:
    """Make the columns of every month that has none yet, and keep them.

    Parameters
    ----------
    source : Source
        From ``read_source``; months that began by its moment are made.
    home : Path
        The project; the columns go to ``home/predictions``.
    again : bool
        Make all months anew, as after other terms or a repaired log.

    Returns
    -------
    Foretelling
        A month that no model fits has no rows and says why; it is tried again next time.
    """
    folder = home / FOLDER
    terms, key = terms_of(source), _key(source)
    kept, manifest = _load(folder)
    if again or manifest.get("key") != key:
        kept, manifest = pl.DataFrame(schema=SCHEMA), {}
    told: dict[str, dict[str, Any]] = {
        row["month"]: row for row in manifest.get("months", []) if row["reason"] is None
    }
    before, parts = len(told), [kept]
    for first in _months(source):
        month = date_of(first).isoformat()
        if month in told:
            continue
        row = {"month": month, "version": None, "model": None, "users": 0, "seq": source.seq}
        try:
            found = _of_month(source, first, terms)
        except Unfit as why:
            told[month] = {**row, "reason": str(why)}
            continue
        version = _version(found, terms)
        customers = found.customers
        parts.append(
            customers.select(
                "user_id",
                month=pl.lit(date_of(first), dtype=pl.Date),
                predicted_value=pl.col("value"),
                p_alive=pl.col("p_alive"),
                version=pl.lit(version),
            )
        )
        told[month] = {
            **row, "version": version, "model": found.model.name, "users": len(customers),
            "reason": None, "estimates": _estimates(found),
        }  # fmt: skip
    new = sum(row["reason"] is None for row in told.values()) - before
    months = [told[month] for month in sorted(told)]
    if new or manifest.get("months") != months:
        _save(folder, pl.concat(parts).sort("user_id", "month"), {"key": key, "months": months})
    return Foretelling(pl.DataFrame(months, schema=MONTHS), new)


class Foretold:
    """The kept columns as readers want them; read again when another manifest is there."""

    def __init__(self, home: Path) -> None:
        self.folder = home / FOLDER
        self._held: tuple[str, pl.DataFrame, Mapping[str, tuple[int, int]]] | None = None

    def table(self) -> pl.DataFrame | None:
        """Return what holds from which day (``lifecycle.predictions.predicted``); None: nothing."""
        held = self._read()
        return None if held is None else held[1]

    def of(self, user_id: str) -> pl.DataFrame | None:
        """Return the rows of one user; None where nothing was ever predicted of them."""
        held = self._read()
        if held is None or user_id not in held[2]:
            return None
        return held[1].slice(*held[2][user_id])

    def _read(self) -> tuple[str, pl.DataFrame, Mapping[str, tuple[int, int]]] | None:
        name = _manifest(self.folder).get("columns")
        if name is None:
            self._held = None
        elif self._held is None or self._held[0] != name:
            try:
                rows = predicted(pl.read_parquet(self.folder / str(name)))
            except FileNotFoundError:  # replaced between the two reads
                return self._held
            ends = rows["user_id"].rle().struct.unnest()
            begin = np.cumsum(np.append(0, ends["len"].to_numpy()))[:-1]
            place = zip(begin.tolist(), ends["len"].to_list(), strict=True)
            self._held = (str(name), rows, dict(zip(ends["value"], place, strict=True)))
        return self._held


def forget_predictions(home: Path, user_ids: Collection[str]) -> None:
    """Take erased people out of the kept columns; the file that named them is gone after."""
    folder = home / FOLDER
    kept, manifest = _load(folder)
    if not manifest:
        return
    gone = pl.Series(sorted(user_ids), dtype=pl.String)
    _save(folder, kept.filter(~pl.col("user_id").is_in(gone.implode())), manifest)


def _months(source: Source) -> list[int]:
    # Day numbers of the first days of months, from the second of the log to the moment.
    if source.log_start is None:
        return []
    days: list[int] = []
    at = date_of(source.log_start)
    while True:
        at = date(at.year + at.month // 12, at.month % 12 + 1, 1)
        day = number_of(at)
        if start_of_day_us(day, source.zone) > source.moment.as_of_us:
            return days
        days.append(day)


def _of_month(source: Source, first: int, terms: Terms) -> Prediction:
    # As of its first midnight: a refund or an order that came later is not seen.
    d = source.definitions
    scenario = source.scenario
    view, days = purchase_days(
        source.events,
        d.orders,
        d.refunds,
        {
            "zone": source.zone,
            "as_of": start_of_day_us(first, source.zone),
            "passive": scenario.passive_types,
        },
    )
    rng = np.random.default_rng(SEED)
    return predict(days, as_of=view.log.last_day, terms=terms, rng=rng)


def _estimates(found: Prediction) -> dict[str, Any]:
    e = found.model.estimate
    spend = None if found.spend.model is None else found.spend.model.estimate
    return {
        "purchases": dict(zip(e.names, e.values.tolist(), strict=True)),
        "spend": found.spend.how
        if spend is None
        else dict(zip(spend.names, spend.values.tolist(), strict=True)),
        "level": found.level,
    }


def _version(found: Prediction, terms: Terms) -> str:
    told = json.dumps({**_estimates(found), **asdict(terms)}, sort_keys=True)
    return f"{found.model.name}-{hashlib.blake2b(told.encode(), digest_size=6).hexdigest()}"


def _key(source: Source) -> str:
    d = source.definitions
    told = [asdict(terms_of(source)), d.orders, d.refunds, source.zone]
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=8).hexdigest()


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return found


def _load(folder: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    manifest = _manifest(folder)
    if not manifest:
        return pl.DataFrame(schema=SCHEMA), {}
    return pl.read_parquet(folder / manifest["columns"]), manifest


def _save(folder: Path, rows: pl.DataFrame, manifest: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"columns-{uuid.uuid4().hex[:12]}.parquet"
    rows.write_parquet(folder / name, compression="zstd")
    _sync(folder / name)
    temporary = folder / f"{MANIFEST}.{uuid.uuid4().hex[:8]}"
    temporary.write_text(json.dumps({**manifest, "columns": name}, indent=1), "utf-8")
    _sync(temporary)
    temporary.replace(folder / MANIFEST)
    for path in folder.glob("columns-*.parquet"):
        if path.name != name:
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
