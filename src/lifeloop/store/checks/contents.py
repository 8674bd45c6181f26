"""Whether rows say what they said when they were stored: each keeps a hash of its content."""

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import polars as pl
import sqlalchemy as sa

from lifeloop.contracts import Finding
from lifeloop.events.canonical import canonical_rows, content_hash
from lifeloop.events.records import EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA
from lifeloop.store.backend import Backend
from lifeloop.store.tables import events, items, removals, users

_AT_ONCE = 20_000
_SHOWN = 5


def contents(backend: Backend) -> Iterator[Finding]:
    """Compare every event, user and item with the hash that was kept with it.

    An event from which an erasure took a name differs, and is left out.
    """
    wrong: list[str] = []
    seen = 0
    versions = {**ITEM_SCHEMA, "categories": pl.String}
    with backend.read() as con:
        cleaned = _cleaned(con)
        con = con.execution_options(stream_results=True, yield_per=_AT_ONCE)
        for table, schema in ((events, EVENT_SCHEMA), (users, USER_SCHEMA), (items, versions)):
            query = sa.select(*(table.c[n] for n in ("seq", "content", *schema)))
            with con.execute(query.order_by(table.c.seq)) as result:
                for rows in result.partitions():
                    seen += len(rows)
                    for seq in _changed(rows, schema, of_events=table is events):
                        if table is not events or not any(a <= seq <= b for a, b in cleaned):
                            wrong.append(f"{table.name} {seq}")
    if wrong:
        yield Finding(
            "contents",
            "warning",
            "rows no longer say what they said when they were stored",
            count=len(wrong),
            examples=tuple(wrong[:_SHOWN]),
            next="somebody edited the database, or its disk fails: compare them with a backup",
        )
        return
    yield Finding("contents", "ok", "every row says what it said when it was stored", count=seen)


def _changed(
    rows: Sequence[sa.Row[Any]], schema: Mapping[str, Any], *, of_events: bool
) -> Iterator[int]:
    columns = list(zip(*rows, strict=True))
    frame = pl.DataFrame(
        [
            pl.Series(name, values, dtype=kind)
            for (name, kind), values in zip(schema.items(), columns[2:], strict=True)
        ]
    )
    if of_events:
        told = [bytes.fromhex(text) for text in content_hash(frame)]
    else:
        texts = canonical_rows(frame, list(schema))
        told = [blake2b(text.encode(), digest_size=16).digest() for text in texts]
    for seq, held, own in zip(columns[0], columns[1], told, strict=True):
        if bytes(held) != own:
            yield int(seq)


def _cleaned(con: sa.Connection) -> list[tuple[int, int]]:
    found = con.execute(sa.select(removals.c.body)).scalars()
    return [(int(a), int(b)) for text in found for a, b in json.loads(text).get("changed", ())]
