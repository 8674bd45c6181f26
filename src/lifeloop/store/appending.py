"""Appending events: every row becomes new, duplicate, conflict, version or refused.

The rules are those of spec/lifecycle.md section 1. An event id that comes again with the same
content is a duplicate. With other content it is kept under a new id that is derived from the
old id and the content, so that replaying it finds itself; it points to the first by
``refers_to`` and is flagged ``conflict``, or ``version`` where it is the same order line
changed, which then stands in for the earlier one. Going back to a content that was already
seen is a duplicate of that one, not a third version: a replay of an old file must not undo a
newer one.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import sqlalchemy as sa

from lifeloop.contracts import IngestReport, QuarantinedRow, Reason, Repair
from lifeloop.events.canonical import content_hash
from lifeloop.events.records import EVENT_SCHEMA
from lifeloop.store import clock
from lifeloop.store.backend import Backend
from lifeloop.store.expiring import without_expired
from lifeloop.store.quarantine import keep
from lifeloop.store.repairing import settle
from lifeloop.store.rows import (
    LINE,
    conformed,
    digest,
    holds_nul,
    not_finite,
    reasons,
    refused,
    too_long,
)
from lifeloop.store.tables import events, superseded
from lifeloop.store.tombstones import without_erased

IDS_UP_TO = 10_000
"""A report tells each row's id and outcome for writes up to this many rows."""

_OPTIONAL = {"flag": pl.String, "content": pl.String, "received_us": pl.Int64}
_INDEXED = ("event_id", "user_id", "anonymous_id")
_REFUSED = {
    "missing_type": pl.col("type").fill_null("") == "",
    "missing_user_id": pl.col("user_id").is_null() & pl.col("anonymous_id").is_null(),
    "bad_number": not_finite(EVENT_SCHEMA),
    "nul_character": holds_nul(EVENT_SCHEMA),
}


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a write will store: new rows with their ids, and which rows stand in for others."""

    rows: pl.DataFrame  # accepted, in arrival order, + refers_to
    contested: pl.DataFrame  # the part of rows whose event id was taken by other content
    ids: pl.Series  # the id under which each row seen is stored


def append_events(
    backend: Backend,
    frame: pl.DataFrame,
    *,
    received_us: int,
    repairs: Sequence[Repair] = (),
) -> IngestReport:
    """Store the rows of ``frame`` that are not stored yet, in their order.

    Parameters
    ----------
    backend : Backend
        The database.
    frame : DataFrame
        ``EVENT_SCHEMA`` + ``t_us``; optional ``flag``, ``content`` (hex), ``received_us`` and
        ``line``. A row without ``event_id`` gets a fresh one.
    received_us : int
        The moment of arrival, where the row does not bring its own.
    repairs : sequence, optional
        The refused rows that these rows were, one each: they leave quarantine with this write.

    Returns
    -------
    IngestReport
        ``event_ids`` holds one id per row that was not refused, in row order, for writes of
        at most 10,000 rows; a duplicate is answered with the id it is stored under.
    """
    if not frame.height:
        return IngestReport()
    seen = conformed(frame, {**EVENT_SCHEMA, "t_us": pl.Int64}, optional=_OPTIONAL)
    why = refused(seen, {**_REFUSED, **too_long(_INDEXED, backend.longest_key)})
    rows = _with_ids_and_contents(seen.filter(why.is_null()))
    with backend.write() as con:
        bad = seen.filter(why.is_not_null())
        broken = why.drop_nulls()
        rows, why = without_erased(backend, con, rows, why)
        rows, why = without_expired(backend, con, rows, why)
        plan = _planned(backend, con, rows)
        n = plan.rows.height
        before = clock.take(con, n, times=_times(plan.rows["t_us"]))
        flags = _store(backend, con, plan, before=before, received_us=received_us)
        if bad.height:
            lost = _quarantined(bad, broken, lines=LINE in frame.columns)
            keep(backend, con, lost, received_us=received_us)
        if repairs:
            settle(con, repairs, _outcomes(plan, why), at_us=received_us)
    bad = seen.filter(why.is_not_null())
    return IngestReport(
        accepted=n,
        duplicate=rows.height - n,
        rejected=bad.height,
        reasons=reasons(bad, why.drop_nulls()) if bad.height else (),
        flagged=flags,
        event_ids=tuple(plan.ids) if frame.height <= IDS_UP_TO else (),
        outcomes=_outcomes(plan, why) if frame.height <= IDS_UP_TO else (),
    )


def _outcomes(plan: _Plan, why: pl.Series) -> tuple[str, ...]:
    """Say of each row seen: accepted, duplicate, or why it was refused."""
    n = len(plan.ids)
    new = set(plan.rows["row"]) if "row" in plan.rows.columns else set(range(n))
    told = iter(["accepted" if row in new else "duplicate" for row in range(n)])
    return tuple(next(told) if reason is None else str(reason) for reason in why)


def _with_ids_and_contents(rows: pl.DataFrame) -> pl.DataFrame:
    missing = (rows["event_id"].is_null() | (rows["event_id"] == "")).fill_null(True)
    if n := int(missing.sum()):
        fresh = iter([uuid.uuid4().hex for _ in range(n)])
        filled = [
            next(fresh) if absent else held
            for held, absent in zip(rows["event_id"], missing, strict=True)
        ]
        rows = rows.with_columns(pl.Series("event_id", filled, dtype=pl.String))
    if rows["content"].null_count():
        rows = rows.with_columns(content_hash(rows))
    return rows.with_columns(pl.col("content").str.decode("hex"))


def _times(t_us: pl.Series) -> tuple[int, int] | None:
    first: Any = t_us.min()
    last: Any = t_us.max()
    return None if first is None else (first, last)


# ---------------------------------------------------------------- what each row is


def _planned(backend: Backend, con: sa.Connection, rows: pl.DataFrame) -> _Plan:
    stored = _lookup(backend, con, rows["event_id"])
    stored = pl.concat([stored, _gone(backend, con, rows["event_id"], stored["event_id"])])
    if not stored.height and rows["event_id"].n_unique() == rows.height:
        plain = rows.with_columns(pl.lit(None, dtype=pl.String).alias("refers_to"))
        return _Plan(plain, plain.clear(), rows["event_id"])
    rows = rows.with_row_index("row").join(stored, on="event_id", how="left", maintain_order="left")
    known = pl.col("stored").is_not_null()
    first = rows.select(
        id=pl.col("row").is_in(_firsts(rows, ["event_id"]).implode()),
        pair=pl.col("row").is_in(_firsts(rows, ["event_id", "content"]).implode()),
    )
    rows = rows.with_columns(first).with_columns(
        new=pl.col("id") & ~known,
        # Not the first of its id, or other content than the stored one: under a new id.
        other=pl.when(known)
        .then(pl.col("content") != pl.col("stored"))
        .otherwise(pl.col("content") != pl.col("content").first().over("event_id")),
    )
    others = rows.filter("other")
    derived = pl.Series(
        "derived",
        [_derived(i, c) for i, c in others.select("event_id", "content").iter_rows()],
        dtype=pl.String,
    )
    held = _lookup(backend, con, derived)["event_id"]
    others = others.with_columns(derived).filter("pair", ~pl.col("derived").is_in(held.implode()))
    others = others.with_columns(refers_to="event_id", event_id="derived")
    ids = rows.select(pl.when("other").then(None).otherwise("event_id").alias("event_id"), "row")
    named = rows.filter("other").select("row").with_columns(derived)
    ids = ids.join(named, on="row", how="left", maintain_order="left")
    accepted = (
        pl.concat([rows.filter("new"), others.select(*rows.columns, "refers_to")], how="diagonal")
        .unique("event_id", keep="first", maintain_order=True)
        .sort("row")
    )
    if "refers_to" not in accepted.columns:
        accepted = accepted.with_columns(refers_to=pl.lit(None, dtype=pl.String))
    contested = accepted.filter(pl.col("refers_to").is_not_null())
    return _Plan(accepted, contested, ids.select(pl.coalesce("event_id", "derived")).to_series())


def _firsts(rows: pl.DataFrame, names: list[str]) -> pl.Series:
    return rows.unique(names, keep="first").get_column("row")


def _derived(event_id: str, content: bytes) -> str:
    return digest(["event", event_id, content.hex()]).hex()


def _lookup(backend: Backend, con: sa.Connection, ids: pl.Series) -> pl.DataFrame:
    schema = {"event_id": pl.String, "stored": pl.Binary}
    if not len(ids):
        return pl.DataFrame(schema=schema)
    found = backend.fetch(con, contents_of(backend.listed), {"ids": backend.packed(ids.to_list())})
    return pl.DataFrame(found, schema=schema, orient="row")


def _gone(backend: Backend, con: sa.Connection, ids: pl.Series, held: pl.Series) -> pl.DataFrame:
    """Return ids whose first event was erased or has expired while a later one refers to it.

    Their content is none that a row can have, so each row is judged under its derived id.
    """
    found: list[str] = []
    if backend.fetch(con, _ANY_CHAIN, {}):
        values = {"ids": backend.packed(ids.to_list())}
        kept = set(held)
        roots = [str(row[0]) for row in backend.fetch(con, _roots_among(backend.listed), values)]
        found = [root for root in roots if root not in kept]
    frame = {"event_id": found, "stored": [b""] * len(found)}
    return pl.DataFrame(frame, schema={"event_id": pl.String, "stored": pl.Binary})


_ANY_CHAIN: sa.Select[Any] = (
    sa.select(events.c.refers_to)
    .where(events.c.refers_to.is_not(None))
    .order_by(events.c.refers_to)  # so that every database answers from the index
    .limit(1)
)


@cache
def _roots_among(listed: sa.Select[Any]) -> sa.Select[Any]:
    return sa.select(events.c.refers_to).where(events.c.refers_to.in_(listed)).distinct()


@cache
def contents_of(listed: sa.Select[Any]) -> sa.Select[Any]:
    """Return the read of what is stored under some event ids."""
    return sa.select(events.c.event_id, events.c.content).where(events.c.event_id.in_(listed))


# ---------------------------------------------------------------- storing


def _store(
    backend: Backend, con: sa.Connection, plan: _Plan, *, before: int, received_us: int
) -> tuple[Reason, ...]:
    rows = plan.rows
    if not rows.height:
        return ()
    seqs = np.arange(before + 1, before + 1 + rows.height, dtype=np.int64)
    rows = rows.with_columns(pl.Series("seq", seqs), pl.col("received_us").fill_null(received_us))
    if plan.contested.height:
        rows, pairs = _judged(backend, con, rows)
        if pairs:
            con.execute(sa.insert(superseded), pairs)
    backend.insert(con, events, rows.select(c.name for c in events.columns))
    if rows["flag"].null_count() == rows.height:
        return ()
    flags = rows.select(LINE, "flag").with_columns(pl.col("flag").str.split(",")).explode("flag")
    return reasons(flags, flags["flag"])


def _judged(
    backend: Backend, con: sa.Connection, rows: pl.DataFrame
) -> tuple[pl.DataFrame, list[dict[str, int]]]:
    """Flag contested rows, and say which earlier row each version stands in for."""
    roots = rows["refers_to"].drop_nulls().unique()
    newest = _chains(backend, con, roots.to_list())
    flags: dict[int, str] = {}
    pairs = []
    mine = rows.filter(
        pl.col("refers_to").is_not_null() | pl.col("event_id").is_in(roots.implode())
    )
    for seq, event_id, refers_to, order in mine.select(
        "seq", "event_id", "refers_to", "order_id"
    ).iter_rows():
        chain = (refers_to or event_id, order)
        if refers_to is not None:
            flags[seq] = "conflict"
            if order is not None and chain in newest:
                flags[seq] = "version"
                pairs.append({"seq": newest[chain], "by_seq": seq})
        newest[chain] = seq
    told = pl.col("seq").replace_strict(flags, default=None, return_dtype=pl.String)
    return rows.with_columns(
        flag=pl.concat_str("flag", told, separator=",", ignore_nulls=True).replace("", None)
    ), pairs


def _chains(
    backend: Backend, con: sa.Connection, roots: list[str]
) -> dict[tuple[str, str | None], int]:
    """Return the newest row of every order under each contested event id."""
    values = {"ids": backend.packed(roots)}
    found = [
        row
        for column in ("event_id", "refers_to")
        for row in backend.fetch(con, _chain_of(column, backend.listed), values)
    ]
    return {(root or own, order): seq for seq, own, root, order in sorted(found)}


@cache
def _chain_of(column: str, listed: sa.Select[Any]) -> sa.Select[Any]:
    names = ("seq", "event_id", "refers_to", "order_id")
    return sa.select(*(events.c[name] for name in names)).where(events.c[column].in_(listed))


def _quarantined(bad: pl.DataFrame, why: pl.Series, *, lines: bool) -> Iterable[QuarantinedRow]:
    raws = bad.select(list(EVENT_SCHEMA)).to_dicts()
    for raw, reason, line in zip(raws, why, bad[LINE], strict=True):
        kept = {name: value for name, value in raw.items() if value is not None}
        yield QuarantinedRow(
            "event", reason, kept, source=raw["source"] or "", line=line if lines else None
        )
