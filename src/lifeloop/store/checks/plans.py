"""Whether what every request asks is answered by index: the plans of the real statements."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lifeloop.contracts import Finding
from lifeloop.store import appending, decisions, histories, profiles, versions
from lifeloop.store.backend import LAST, Backend

_SMALL = 5_000
"""Rows of a table that a server rightly reads whole: there it is asked what it would do."""

_BOUNDS: dict[str, Any] = {"person": "x", "visitor": "x", "known": LAST, "as_of": LAST, "n": 10}


@dataclass(frozen=True, slots=True)
class Hot:
    """A read of the hot path and the indexes (by their name on either database) it should use."""

    statement: sa.Select[Any]
    values: Mapping[str, Any]
    table: str
    indexes: tuple[str, ...]


def hot_reads(backend: Backend) -> dict[str, Hot]:
    """Return what every request and every import asks."""
    ids = {"ids": backend.packed(["x", "y"]), "known": LAST}
    known, listed = appending.contents_of, backend.listed
    by_user = ("events_by_user",)
    profile = {"record of a user": Hot(profiles.RECORD, _BOUNDS, "users", ("users_by_id",))}
    if backend.remote:
        whole = Hot(profiles.PROFILE, _BOUNDS, "events", by_user)
        profile = {"a user with their history": whole}
    return {
        **profile,
        "history of a user": Hot(histories.BY_USER, _BOUNDS, "events", by_user),
        "history of a visitor": Hot(
            histories.BY_VISITOR, _BOUNDS, "events", ("events_by_visitor",)
        ),
        "whose visitor": Hot(
            histories.LINKED, _BOUNDS, "links", ("links_pkey", "sqlite_autoindex_links_1")
        ),
        "visitors of a user": Hot(histories.VISITORS, _BOUNDS, "links", ("links_by_user",)),
        "known event ids": Hot(known(listed), ids, "events", ("events_event_id",)),
        "items by id": Hot(
            versions.newest_of("item", ("item_id",), listed), ids, "items", ("items_by_id",)
        ),
        "users by id": Hot(
            versions.newest_of("user", ("user_id",), listed), ids, "users", ("users_by_id",)
        ),
        "slate by request": Hot(
            decisions.BY_REQUEST,
            {"request": "x"},
            "decisions",
            ("decisions_request_id_key", "sqlite_autoindex_decisions_1"),
        ),
    }


def index_use(backend: Backend) -> Iterator[Finding]:
    """Say which hot reads would go through a whole table."""
    slow = []
    hot = hot_reads(backend)
    with backend.read() as con:
        for name, read in hot.items():
            if not used_indexes(con, read) & set(read.indexes):
                slow.append(f"{name} reads all of {read.table}")
    if slow:
        yield Finding(
            "index use",
            "failure",
            "reads of every request go through whole tables",
            count=len(slow),
            examples=tuple(slow),
            next="see the finding on indexes; on PostgreSQL also: ANALYZE",
        )
        return
    yield Finding("index use", "ok", f"{len(hot)} hot reads go by index", count=len(hot))


def used_indexes(con: sa.Connection, read: Hot) -> set[str]:
    """Return the indexes that the plan of a read goes through."""
    compiled = read.statement.compile(dialect=con.dialect)
    known = {k: v for k, v in read.values.items() if k in compiled.params}
    given = {**compiled.params, **known}
    if con.dialect.name == "postgresql":
        return _of_postgres(con, str(compiled), given, read.table, read.indexes)
    names = compiled.positiontup or ()
    plan = con.exec_driver_sql(
        f"EXPLAIN QUERY PLAN {compiled}", tuple(given[name] for name in names)
    )
    found = [re.search(r"INDEX (\w+)", str(row[-1])) for row in plan]
    return {match.group(1) for match in found if match}


def _of_postgres(
    con: sa.Connection, sql: str, given: Mapping[str, Any], table: str, there: tuple[str, ...]
) -> set[str]:
    size = con.exec_driver_sql(
        "SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)", (f'"{table}"',)
    ).scalar()
    with con.begin_nested() as point:
        small = size is None or size < _SMALL
        if small:
            con.exec_driver_sql("SET LOCAL enable_seqscan = off")
        told: Any = con.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {sql}", dict(given)).scalar()
        point.rollback()
    plan = json.loads(told) if isinstance(told, str) else told
    nodes = list(_nodes(plan[0]["Plan"]))
    used = {str(node["Index Name"]) for node in nodes if "Index Name" in node}
    if small and not any(node["Node Type"] == "Seq Scan" for node in nodes):
        # Among few rows any index is as good, and either may be taken: is the right one there?
        named = con.exec_driver_sql(
            "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()"
        ).scalars()
        used |= set(there) & set(named)
    return used


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)
