"""The daily state of a store, kept on disk: a base, and what changed since.

The folder holds one Parquet file per frame for the base and for each change, and a manifest that
names them; the manifest is replaced last, so that a crash leaves the state as it was.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from lifeloop.config import Scenario
from lifeloop.contracts import Store
from lifeloop.lifecycle import StageDefinitions
from lifeloop.lifecycle.calendar import days_of
from lifeloop.lifecycle.daily import Daily, Delta, applied, build, change
from lifeloop.lifecycle.daily.change import late
from lifeloop.screening import flagged

VERSION = 2
MANIFEST = "manifest.json"
MOST_CHANGES = 32
"""With more changes than this on top of it, the base is written anew."""

LARGE = 0.2
"""When more than this share of users must be done again, everything is: one read is cheaper."""

DENSE = 0.99
"""Regular pauses of half a day at most leave out less than this share of the days."""

BOT_RULES = ("bots", "bot_events_per_minute", "bot_hours_per_day", "bot_regular_gaps")

FRAMES = ("users", "days", "orders", "path", "people")
DELTA = ("new_users", "dropped", "days", "orders", "path", "people")


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A state that is up to date, and what that took: ``how`` is full, change or nothing."""

    daily: Daily
    seq: int
    how: str
    users_touched: int
    why: str


def refresh(store: Store, scenario: Scenario, folder: Path) -> Refreshed:
    """Return the daily state of a store as it is now, and keep it in ``folder``.

    Only users with new, late, merged or replaced events are computed again, unless there is no
    usable state, the definitions changed, or events have vanished (an erasure that did not say
    ``forget``).

    Parameters
    ----------
    store : Store
        Read from the sequence number of the kept state on.
    scenario : Scenario
        Its stages and zone; other ones mean another state.
    folder : Path
        Where the state is kept.
    """
    key = _key(scenario)
    kept = _load(folder, StageDefinitions.of(scenario), key)
    if kept is None:
        return _full(store, scenario, folder, key, why="there was no state of these definitions")
    daily, manifest = kept
    came = store.changes(after_seq=manifest["seq"])
    if came.before != manifest["events"]:
        return _full(store, scenario, folder, key, why="events have vanished")
    if came.seq == manifest["seq"]:
        return Refreshed(daily, came.seq, "nothing", 0, "nothing came")
    new = came.events.filter(pl.col("t_us").is_not_null())
    bots = set(manifest["bots"])
    redo = {*came.people, *late(daily, new), *_may_be_bots(daily, new, scenario, bots)}
    if len(redo) > LARGE * max(len(daily.users), 1):
        return _full(store, scenario, folder, key, why=f"{len(redo):,} users to do again")
    histories = store.events_of(sorted(redo), seq=came.seq)
    histories = flagged(histories.filter(pl.col("t_us").is_not_null()), scenario)
    new = flagged(new, scenario)
    bots = ((bots | _programs(new)) - redo) | _programs(histories)
    delta = change(daily, new, redo=redo, histories=histories)
    daily = applied(daily, delta)
    touched = pl.concat([delta.people["ix"], delta.dropped]).n_unique()
    held = store.changes(after_seq=came.seq).before
    if len(manifest["changes"]) >= MOST_CHANGES:
        _save_base(folder, daily, key, seq=came.seq, events=held, bots=bots)
    else:
        told = {**manifest, "seq": came.seq, "events": held, "bots": sorted(bots)}
        _save_change(folder, delta, told)
    return Refreshed(daily, came.seq, "change", touched, f"{new.height:,} events came")


def fresh(store: Store, scenario: Scenario, folder: Path, *, seq: int) -> Daily | None:
    """Return the kept state if it is that of the store as known at ``seq``; nothing is written."""
    if not (folder / MANIFEST).is_file():
        return None
    kept = _load(folder, StageDefinitions.of(scenario), _key(scenario))
    if kept is None or kept[1]["seq"] != seq:
        return None
    return kept[0] if store.changes(after_seq=seq).before == kept[1]["events"] else None


def forget_people(
    store: Store, scenario: Scenario, folder: Path, user_ids: Collection[str]
) -> None:
    """Take people whom the store has erased out of the state that is kept in ``folder``."""
    path = folder / MANIFEST
    if not path.is_file():
        return
    seq = int(json.loads(path.read_text("utf-8"))["seq"])
    forget(folder, scenario, user_ids, events=store.changes(after_seq=seq).before)


def forget(folder: Path, scenario: Scenario, user_ids: Collection[str], *, events: int) -> None:
    """Take erased people out of the kept state, files included; ``events`` are left in the store.

    Every file that named them is written anew.
    """
    definitions = StageDefinitions.of(scenario)
    key = _key(scenario)
    kept = _load(folder, definitions, key)
    if kept is None:
        shutil.rmtree(folder, ignore_errors=True)
        return
    daily, manifest = kept
    empty = pl.DataFrame(schema={"user_id": pl.String, "t_us": pl.Int64, "type": pl.String})
    daily = applied(daily, change(daily, empty, redo=user_ids))
    bots = {*manifest["bots"]} - {*user_ids}
    named = _without_names(daily, user_ids)
    _save_base(folder, named, key, seq=manifest["seq"], events=events, bots=bots)


def _without_names(daily: Daily, user_ids: Collection[str]) -> Daily:
    # The place stays, so that no row elsewhere moves; the name goes.
    gone = pl.Series(sorted(user_ids), dtype=pl.String)
    name = pl.when(pl.col("user_id").is_in(gone.implode())).then(
        pl.format("erased:{}", pl.int_range(pl.len()))
    )
    return replace(
        daily, users=daily.users.with_columns(name.otherwise("user_id").alias("user_id"))
    )


def _may_be_bots(daily: Daily, new: pl.DataFrame, scenario: Scenario, bots: set[str]) -> set[str]:
    """Return known users with new events who may now behave as a program, or no longer do.

    Haste and sleepless days show within a day: whoever was not seen on the days before the new
    events shows them in the new events alone. Regular pauses, half a day long at most, leave
    hardly a day out. Others, and whoever has an event of a program, need their whole history.
    """
    if scenario.clean.bots == "keep" or new.is_empty():
        return set()
    came = new.group_by("user_id").agg(first=pl.col("t_us").min())
    came = came.with_columns(first=pl.Series(days_of(came["first"].to_numpy(), daily.zone)))
    known = daily.users.with_row_index("ix").with_columns(pl.col("ix").cast(pl.Int32))
    placed = came.join(known, on="user_id").join(
        daily.people.select("ix", "first_day", "last_day"), on="ix"
    )
    theirs = daily.days.join(placed.select("ix"), on="ix", how="semi")
    placed = placed.join(theirs.group_by("ix").agg(n=pl.len()), on="ix")
    span = pl.col("last_day") - pl.col("first_day") + 1
    dense = (pl.col("n") > 2) & (pl.col("n") >= DENSE * span - 2)
    asked = placed.filter((pl.col("last_day") >= pl.col("first") - 2) | dense)
    return {*asked["user_id"], *(bots & set(came["user_id"]))}


def _programs(events: pl.DataFrame) -> set[str]:
    # Who has an event of a program: flagged by agent or by the source, or by what they do.
    return set(events.filter(pl.col("is_bot").fill_null(value=False))["user_id"])


def _full(store: Store, scenario: Scenario, folder: Path, key: str, *, why: str) -> Refreshed:
    snapshot = store.snapshot()
    timed = flagged(snapshot.events.filter(pl.col("t_us").is_not_null()), scenario)
    definitions = StageDefinitions.of(scenario)
    daily = build(timed, definitions=definitions, zone=scenario.locale.zone)
    held = store.changes(after_seq=snapshot.seq).before
    _save_base(folder, daily, key, seq=snapshot.seq, events=held, bots=_programs(timed))
    return Refreshed(daily, snapshot.seq, "full", len(daily.people), why)


def _key(scenario: Scenario) -> str:
    # Everything that the state depends on besides the events.
    rules = scenario.clean
    told = {
        "version": VERSION,
        "zone": scenario.locale.zone,
        **asdict(StageDefinitions.of(scenario)),
        "bots": {name: getattr(rules, name) for name in BOT_RULES},
    }
    canonical = json.dumps(told, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(canonical.encode(), digest_size=8).hexdigest()


def _load(
    folder: Path, definitions: StageDefinitions, key: str
) -> tuple[Daily, dict[str, Any]] | None:
    path = folder / MANIFEST
    if not path.is_file():
        return None
    manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if manifest["key"] != key:
        return None
    try:
        base = {name: _read(folder, manifest["base"], name) for name in FRAMES}
        daily = Daily(definitions, manifest["zone"], last_us=manifest["base_last_us"], **base)
        for part in manifest["changes"]:
            frames = {name: _read(folder, part["name"], name) for name in DELTA}
            dropped = frames.pop("dropped")["ix"]
            daily = applied(daily, Delta(dropped=dropped, last_us=part["last_us"], **frames))
    except (OSError, pl.exceptions.PolarsError):
        return None  # a damaged state is computed anew
    return daily, manifest


def _save_base(
    folder: Path, daily: Daily, key: str, *, seq: int, events: int, bots: Collection[str]
) -> None:
    name = f"base-{seq}-{uuid.uuid4().hex[:8]}"
    for frame in FRAMES:
        _write(folder, name, frame, getattr(daily, frame))
    manifest = {
        "key": key,
        "zone": daily.zone,
        "seq": seq,
        "events": events,
        "bots": sorted(bots),
        "base": name,
        "base_last_us": daily.last_us,
        "changes": [],
    }
    _publish(folder, manifest)


def _save_change(folder: Path, delta: Delta, manifest: dict[str, Any]) -> None:
    name = f"change-{manifest['seq']}-{uuid.uuid4().hex[:8]}"
    for frame in DELTA:
        found = getattr(delta, frame)
        _write(folder, name, frame, found.to_frame("ix") if frame == "dropped" else found)
    changes = [*manifest["changes"], {"name": name, "last_us": delta.last_us}]
    _publish(folder, {**manifest, "changes": changes})


def _publish(folder: Path, manifest: dict[str, Any]) -> None:
    temporary = folder / f"{MANIFEST}.{uuid.uuid4().hex[:8]}"
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / MANIFEST)
    live = {manifest["base"], *(part["name"] for part in manifest["changes"])}
    for path in folder.glob("*.parquet"):
        if path.name.rsplit(".", 2)[0] not in live:
            path.unlink(missing_ok=True)


def _read(folder: Path, name: str, frame: str) -> pl.DataFrame:
    return pl.read_parquet(folder / f"{name}.{frame}.parquet")


def _write(folder: Path, name: str, frame: str, rows: pl.DataFrame) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.{frame}.parquet"
    rows.write_parquet(path, compression="lz4", statistics=False)
    with path.open("rb") as file:
        os.fsync(file.fileno())
