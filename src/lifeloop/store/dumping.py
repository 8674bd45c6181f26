"""Every row of one moment of the store, as plain mappings, in the order it learned them."""

import heapq
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import Any

import sqlalchemy as sa

from lifeloop.events.records import EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA
from lifeloop.store.backend import Backend
from lifeloop.store.tables import decisions, events, items, links, quarantine, users

_AT_ONCE = 5_000

_EVENT = ("seq", *EVENT_SCHEMA, "t_us", "received_us", "flag", "refers_to", "content")


def dumped(backend: Backend) -> Generator[dict[str, Any]]:
    """Yield rows, each named by ``row``: event, user, item, link, decision, refused.

    Fields without a value are left out.

    Users, items, events and links come by their sequence number, each decision after the number
    that it saw, the rows in quarantine at the end. JSON columns stay the text that they are.
    Memory does not grow with the store.
    """
    queries = {
        "user": _versions(users, "user_id", tuple(USER_SCHEMA)),
        "item": _versions(items, "item_id", tuple(ITEM_SCHEMA)),
    }
    queries["event"] = sa.select(*(events.c[name] for name in _EVENT)).order_by(events.c.seq)
    queries["link"] = sa.select(links).order_by(links.c.seq)
    queries["decision"] = sa.select(decisions).order_by(decisions.c.seq, decisions.c.id)
    queries["refused"] = sa.select(quarantine).order_by(quarantine.c.id)
    with backend.read() as con, ExitStack() as open_:
        con = con.execution_options(stream_results=True, yield_per=_AT_ONCE)
        results = {kind: open_.enter_context(con.execute(q)) for kind, q in queries.items()}
        rows = {kind: _rows(kind, result) for kind, result in results.items()}
        refused = rows.pop("refused")
        yield from heapq.merge(
            *rows.values(), key=lambda row: (row["seq"], row["row"] == "decision")
        )
        yield from refused


def _rows(kind: str, result: sa.CursorResult[Any]) -> Iterator[dict[str, Any]]:
    for row in result:
        told = {name: value for name, value in row._mapping.items() if value is not None}
        told.pop("id", None)
        for name in ("content", "after"):
            if name in told:
                told[name] = bytes(told[name]).hex()
        if told.get("nth") == 1:
            del told["nth"]
        yield {"row": kind, **told}


def _versions(table: sa.Table, key: str, columns: tuple[str, ...]) -> sa.Select[Any]:
    same = (table.c[key], table.c.content, table.c.received_us)
    nth = sa.func.row_number().over(partition_by=same, order_by=table.c.seq)

    def before(name: str) -> sa.ColumnElement[Any]:
        lag = sa.func.lag(table.c[name])
        return lag.over(partition_by=table.c[key], order_by=table.c.seq)

    return sa.select(
        *(table.c[name] for name in ("seq", *columns, "received_us")),
        nth.label("nth"),
        before("received_us").label("after_us"),
        before("content").label("after"),
    ).order_by(table.c.seq)
