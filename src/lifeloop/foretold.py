"""Predicted value and P(alive) of every customer, month by month, kept beside the store.

A month's column is made once, of what was known before its first day, and stays: it is what was
predicted then. ``predictions/`` of the project holds one Parquet file and a manifest that names it
and says which model of which version made each month; the manifest is replaced last.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lifeloop.contracts import Float, Long, Predicted
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


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """One reading of the kept columns: as the stages want them, and as numbers by user.

    ``rows`` are sorted by user, ``place`` is where each user's M of them lie.
    """

    stamp: tuple[int, int]
    rows: pl.DataFrame
    place: Mapping[str, tuple[int, int]]
    from_us: Long  # [M]
    values: Float  # [M, 2]


class Foretold:
    """The kept columns as readers want them; read again when another manifest is there."""

    def __init__(self, home: Path, *, zone: str) -> None:
        self.folder = home / FOLDER
        self.zone = zone
        self._held: Held | None = None

    def table(self) -> pl.DataFrame | None:
        """Return what holds from which day (``lifecycle.predictions.predicted``); None: nothing."""
        held = self._read()
        return None if held is None else held.rows

    def of(self, user_id: str) -> pl.DataFrame | None:
        """Return the rows of one user; None where nothing was ever predicted of them."""
        held = self._read()
        if held is None or user_id not in held.place:
            return None
        return held.rows.slice(*held.place[user_id])

    def at(self, user_id: str, t_us: int) -> Float:
        """Return predicted value and P(alive) that hold of a user at a moment, [2], else NaN."""
        found = self.of_users([user_id])
        if found is None:
            return np.full(2, np.nan, dtype=np.float32)
        (told,) = found.at(np.zeros(1, np.int32), np.array([t_us], np.int64))
        return np.asarray(told, np.float32)

    def of_users(self, user_ids: Sequence[str]) -> Predicted | None:
        """Return what was predicted of these users and when, for models; None: nothing is kept."""
        held = self._read()
        if held is None:
            return None
        places = np.array([held.place.get(user, (0, 0)) for user in user_ids], np.int64)
        places = places.reshape(-1, 2)  # [U, 2] begin, length
        indptr = np.append(0, places[:, 1].cumsum())
        within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], places[:, 1])
        rows = np.repeat(places[:, 0], places[:, 1]) + within
        return Predicted(indptr, held.from_us[rows], held.values[rows])

    def _read(self) -> Held | None:
        try:
            found = (self.folder / MANIFEST).stat()
        except FileNotFoundError:
            self._held = None
            return None
        stamp = (found.st_mtime_ns, found.st_ino)
        if self._held is not None and self._held.stamp == stamp:
            return self._held
        try:
            kept, _ = _load(self.folder)
        except FileNotFoundError:  # replaced between the two reads: the next asks again
            return self._held
        kept = kept.sort("user_id", "month")
        runs = kept["user_id"].rle().struct.unnest()
        sizes = runs["len"].cast(pl.Int64).to_numpy()
        begin = sizes.cumsum() - sizes
        place = zip(begin.tolist(), runs["len"].to_list(), strict=True)
        starts = {
            month: start_of_day_us(number_of(month), self.zone) for month in kept["month"].unique()
        }
        from_us = kept["month"].replace_strict(
            list(starts), list(starts.values()), return_dtype=pl.Int64
        )
        self._held = Held(
            stamp,
            predicted(kept.drop("version")),
            dict(zip(runs["value"], place, strict=True)),
            from_us.to_numpy(),
            kept.select("predicted_value", "p_alive").to_numpy().astype(np.float32),
        )
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
