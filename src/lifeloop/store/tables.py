"""The tables of the system of record, in SQLAlchemy Core: one description for every database.

Everything that can change what a reader knows (events, versions of users and items, identity
links) takes its number from one counter, ``clock.seq``. A read with ``seq`` therefore sees the
state exactly as it was when that number was the newest. Nothing that carries a ``seq`` is ever
changed afterwards: a newer order line adds a row to ``superseded`` instead.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from lifeloop.events.records import EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA

metadata = sa.MetaData()

Long = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""64 bits everywhere; in SQLite the word INTEGER makes a primary key the row's own address."""

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Text compared byte by byte everywhere: the same order on every database and system."""

_TYPES: dict[str, Any] = {
    "String": Text,
    "Int64": Long,
    "Int32": sa.Integer(),
    "Float64": sa.Double(),
    "Boolean": sa.Boolean(),
    "List(String)": Text,  # as JSON
}


def _columns(schema: Mapping[str, Any], required: tuple[str, ...]) -> list[sa.Column[Any]]:
    return [
        sa.Column(name, _TYPES[str(kind)], nullable=name not in required)
        for name, kind in schema.items()
    ]


def _seq(primary: bool = True) -> sa.Column[Any]:
    return sa.Column("seq", Long, primary_key=primary, autoincrement=False, nullable=False)


def _id() -> sa.Column[Any]:
    return sa.Column("id", Long, primary_key=True, autoincrement=True)


def _text(name: str, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, Text, **{"nullable": False, **more})


def _long(name: str, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, Long, **{"nullable": False, **more})


def _content() -> sa.Column[Any]:
    return sa.Column("content", sa.LargeBinary, nullable=False)


clock = sa.Table(
    "clock",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    _long("seq"),
    _long("touched"),
    _long("first_event_us", nullable=True),
    _long("last_event_us", nullable=True),
)

events = sa.Table(
    "events",
    metadata,
    _seq(),
    *_columns(EVENT_SCHEMA, ("event_id", "type")),
    _long("t_us", nullable=True),
    _long("received_us"),
    _text("flag", nullable=True),
    _text("refers_to", nullable=True),
    _content(),
)
sa.Index("events_event_id", events.c.event_id, unique=True)
# The order of one person's events comes from the index alone: (t_us, seq), no time first. In
# SQLite every index ends with seq and null comes first; in PostgreSQL the migration says both.
sa.Index("events_by_user", events.c.user_id, events.c.t_us)
_no_user = events.c.user_id.is_(None)
sa.Index(
    "events_by_visitor",
    events.c.anonymous_id,
    events.c.t_us,
    sqlite_where=_no_user,
    postgresql_where=_no_user,
)
_refers = events.c.refers_to.is_not(None)
sa.Index("events_refers_to", events.c.refers_to, sqlite_where=_refers, postgresql_where=_refers)

superseded = sa.Table("superseded", metadata, _seq(), _long("by_seq"))

users = sa.Table(
    "users",
    metadata,
    _seq(),
    *_columns(USER_SCHEMA, ("user_id",)),
    _long("received_us"),
    _content(),
)
sa.Index("users_by_id", users.c.user_id, users.c.seq, unique=True)

items = sa.Table(
    "items",
    metadata,
    _seq(),
    *_columns(ITEM_SCHEMA, ("item_id",)),
    _long("received_us"),
    _content(),
)
sa.Index("items_by_id", items.c.item_id, items.c.seq, unique=True)

links = sa.Table(
    "links",
    metadata,
    _text("anonymous_id", primary_key=True),
    _text("user_id"),
    _text("kind"),
    _seq(primary=False),
    _long("at_us"),
)
sa.Index("links_by_user", links.c.user_id)

identity_audit = sa.Table(
    "identity_audit",
    metadata,
    _id(),
    _text("anonymous_id"),
    _text("user_id"),
    _text("linked_to", nullable=True),
    _text("reason"),
    _long("at_us"),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    _id(),
    _text("kind"),
    _text("reason"),
    _text("raw"),
    _text("source"),
    _long("line", nullable=True),
    _long("received_us"),
    _text("row_key", unique=True),
    sqlite_autoincrement=True,  # an id that was released never comes back
)

repairs = sa.Table(
    "repairs",
    metadata,
    _id(),
    _long("quarantine_id"),
    _text("kind"),
    _text("reason"),
    _text("source"),
    _long("line", nullable=True),
    _text("who"),
    _long("at_us"),
    _text("outcome"),
    _text("raw"),
    _text("changes"),
    sqlite_autoincrement=True,
)
sa.Index("repairs_by_row", repairs.c.quarantine_id)

decisions = sa.Table(
    "decisions",
    metadata,
    _id(),
    _text("request_id", unique=True),
    _text("user_id"),
    _long("t_us"),
    _long("seq"),
    _text("body"),
)
sa.Index("decisions_by_seq", decisions.c.seq, decisions.c.id)
sa.Index("decisions_by_user", decisions.c.user_id)

bundles = sa.Table(
    "bundles",
    metadata,
    _text("bundle", primary_key=True),
    _long("at_us"),
    _text("manifest"),
)

activations = sa.Table("activations", metadata, _id(), _text("bundle"), _long("at_us"))

kept = sa.Table(
    "kept",
    metadata,
    _text("kind", primary_key=True),
    _text("name", primary_key=True),
    _text("body"),
    _long("at_us"),
)

tombstones = sa.Table(
    "tombstones",
    metadata,
    _text("mark", primary_key=True),  # HMAC of the kind and the id: no name of anybody
    _text("kind"),
    _long("at_us"),
)

removals = sa.Table(
    "removals",
    metadata,
    _id(),
    _text("why"),  # erased | expired
    _long("at_us"),
    _long("seqs"),  # how many sequence numbers were given up
    _text("body"),
    sqlite_autoincrement=True,
)
