"""Everything known at one moment, as frames."""

from collections.abc import Sequence

import polars as pl
import sqlalchemy as sa

from lifeloop.contracts import Snapshot
from lifeloop.events.records import (
    ANONYMOUS_PREFIX,
    ITEM_SCHEMA,
    STORED_EVENT_SCHEMA,
    USER_SCHEMA,
)
from lifeloop.store import clock
from lifeloop.store.backend import Backend, bound
from lifeloop.store.tables import events, links, superseded
from lifeloop.store.versions import ITEMS, USERS, known_at

_NEEDED = ("seq", "user_id", "anonymous_id", "t_us")
"""Columns that are read whatever was asked for: who it was, and in what order."""


def take_snapshot(
    backend: Backend, *, as_of_us: int | None, seq: int | None, columns: Sequence[str] | None
) -> Snapshot:
    """Return the store as known at ``seq``, events before ``as_of_us`` and untimed ones.

    The reads need no common transaction: rows up to a sequence number never change.
    """
    with backend.read() as con:
        newest = clock.newest(con)
    known = newest if seq is None else min(seq, newest)
    return Snapshot(
        events=_events(backend, as_of_us=as_of_us, seq=known, columns=columns),
        users=backend.frame(known_at(USERS, known), USER_SCHEMA),
        items=items_known(backend, seq=known),
        as_of_us=as_of_us,
        seq=known,
    )


def items_known(backend: Backend, *, seq: int | None) -> pl.DataFrame:
    """Return every item in the version known at ``seq``, ordered by id."""
    frame = backend.frame(known_at(ITEMS, seq), {**ITEM_SCHEMA, "categories": pl.String})
    return frame.with_columns(pl.col("categories").str.json_decode(pl.List(pl.String))).select(
        list(ITEM_SCHEMA)
    )


def _events(
    backend: Backend, *, as_of_us: int | None, seq: int, columns: Sequence[str] | None
) -> pl.DataFrame:
    wanted = STORED_EVENT_SCHEMA if columns is None else {*columns, *_NEEDED}
    schema = {name: kind for name, kind in STORED_EVENT_SCHEMA.items() if name in wanted}
    query = sa.select(*(events.c[name] for name in schema)).where(events.c.seq <= seq)
    if as_of_us is not None:
        query = query.where(sa.or_(events.c.t_us.is_(None), events.c.t_us < bound(as_of_us)))
    frame = backend.frame(query, schema)
    frame = without_replaced(backend, frame, seq=seq)
    found = resolved(backend, frame, seq=seq).sort("user_id", "t_us", "seq")
    return found if columns is None else found.select(columns)


def without_replaced(backend: Backend, frame: pl.DataFrame, *, seq: int) -> pl.DataFrame:
    """Return the events without order lines of which a newer version was known at ``seq``."""
    older = sa.select(superseded.c.seq).where(superseded.c.by_seq <= seq)
    replaced = backend.frame(older, {"seq": pl.Int64})
    return frame.join(replaced, on="seq", how="anti") if replaced.height else frame


def resolved(backend: Backend, frame: pl.DataFrame, *, seq: int) -> pl.DataFrame:
    """Return the events with ``user_id`` as the links known at ``seq`` say."""
    if not frame["user_id"].null_count():
        return frame
    schema = {"anonymous_id": pl.String, "linked": pl.String}
    query = sa.select(links.c.anonymous_id, links.c.user_id.label("linked"))
    return named(frame, backend.frame(query.where(links.c.seq <= seq), schema))


def named(frame: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Return the events with ``user_id`` as the links ``anonymous_id``, ``linked`` say."""
    person = pl.coalesce("user_id", "linked", pl.lit(ANONYMOUS_PREFIX) + pl.col("anonymous_id"))
    return frame.join(known, on="anonymous_id", how="left").select(
        pl.col(name) if name != "user_id" else person.alias("user_id") for name in frame.columns
    )
