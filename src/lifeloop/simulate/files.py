"""A world as the files a shop would export."""

from pathlib import Path

import polars as pl

from lifeloop.simulate.world import World


def write_world(world: World, folder: Path) -> dict[str, Path]:
    """Write users.csv, items.csv, events.csv and links.csv, for the public import.

    Times are ISO 8601 in UTC with microseconds, categories are joined with ``|``, columns that
    are empty throughout are left out. ``links.csv`` (anonymous_id, user_id, t_us) is what
    ``identify`` is told.

    Returns
    -------
    dict
        ``users``, ``items``, ``events``, ``links`` -> path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames = {
        "users": _timed(world.users, {"created_us": "created_at"}),
        "items": _timed(
            world.items.with_columns(pl.col("categories").list.join("|")),
            {"available_from_us": "available_from", "available_until_us": "available_until"},
        ),
        # Where an event comes from is for the import to say.
        "events": _timed(
            world.events.drop("source"), {"occurred_us": "occurred_at", "sent_us": "sent_at"}
        ),
        "links": world.links,
    }
    paths = {}
    for name, frame in frames.items():
        paths[name] = folder / f"{name}.csv"
        full = [column.name for column in frame if column.null_count() < frame.height]
        frame.select(full).write_csv(paths[name])
    return paths


def _timed(frame: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    texts = [
        pl.from_epoch(pl.col(old), time_unit="us").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").alias(new)
        for old, new in names.items()
    ]
    return frame.with_columns(texts).drop(names)
