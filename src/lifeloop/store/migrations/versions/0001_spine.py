"""The spine: clock, events, users, items, identity, quarantine, decisions, bundles."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Written out, not taken from tables.py: a migration must not change when the tables do.
LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    clock = op.create_table(
        "clock",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        _long("seq"),
        _long("touched"),
        _long("first_event_us", nullable=True),
        _long("last_event_us", nullable=True),
    )
    op.bulk_insert(clock, [{"id": 1, "seq": 0, "touched": 0}])
    op.create_table(
        "events",
        _seq(),
        _text("event_id", nullable=False),
        _text("user_id"),
        _text("anonymous_id"),
        _text("type", nullable=False),
        _long("occurred_us", nullable=True),
        _long("sent_us", nullable=True),
        _text("item_id"),
        _real("value"),
        _real("quantity"),
        _text("currency"),
        _text("order_id"),
        _text("line_id"),
        _text("text"),
        _real("rating"),
        _text("session_id"),
        _text("request_id"),
        sa.Column("position", sa.Integer),
        _text("channel"),
        _text("referrer_id"),
        sa.Column("is_bot", sa.Boolean),
        _text("source"),
        _text("context"),
        _long("t_us", nullable=True),
        _long("received_us"),
        _text("flag"),
        _text("refers_to"),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_index("events_event_id", "events", ["event_id"], unique=True)
    _index("events_by_user", ["user_id", *_in_order()])
    _index("events_by_visitor", ["anonymous_id", *_in_order()], "user_id IS NULL")
    _index("events_refers_to", ["refers_to"], "refers_to IS NOT NULL")
    op.create_table("superseded", _seq(), _long("by_seq"))
    op.create_table(
        "users",
        _seq(),
        _text("user_id", nullable=False),
        _long("created_us", nullable=True),
        _text("channel"),
        _text("consent"),
        _text("attributes"),
        _long("received_us"),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_index("users_by_id", "users", ["user_id", "seq"], unique=True)
    op.create_table(
        "items",
        _seq(),
        _text("item_id", nullable=False),
        _text("title"),
        _text("description"),
        _text("categories"),
        _text("brand"),
        _real("price"),
        _real("cost"),
        _real("list_price"),
        _text("url"),
        _text("image"),
        _text("audio"),
        _real("stock"),
        _text("parent_id"),
        _text("kind"),
        _text("language"),
        _text("provider_id"),
        _long("available_from_us", nullable=True),
        _long("available_until_us", nullable=True),
        _text("attributes"),
        _long("received_us"),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_index("items_by_id", "items", ["item_id", "seq"], unique=True)
    op.create_table(
        "links",
        sa.Column("anonymous_id", TEXT, primary_key=True),
        _text("user_id", nullable=False),
        _long("seq"),
        _long("at_us"),
    )
    op.create_index("links_by_user", "links", ["user_id"])
    op.create_table(
        "identity_audit",
        _id(),
        _text("anonymous_id", nullable=False),
        _text("user_id", nullable=False),
        _text("linked_to"),
        _text("reason", nullable=False),
        _long("at_us"),
    )
    op.create_table(
        "quarantine",
        _id(),
        _text("kind", nullable=False),
        _text("reason", nullable=False),
        _text("raw", nullable=False),
        _text("source", nullable=False),
        _long("line", nullable=True),
        _long("received_us"),
        sa.Column("row_key", TEXT, nullable=False, unique=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "decisions",
        _id(),
        sa.Column("request_id", TEXT, nullable=False, unique=True),
        _text("user_id", nullable=False),
        _long("t_us"),
        _long("seq"),
        _text("body", nullable=False),
    )
    op.create_index("decisions_by_seq", "decisions", ["seq", "id"])
    op.create_index("decisions_by_user", "decisions", ["user_id"])
    op.create_table(
        "bundles",
        sa.Column("bundle", TEXT, primary_key=True),
        _long("at_us"),
        _text("manifest", nullable=False),
    )
    op.create_table("activations", _id(), _text("bundle", nullable=False), _long("at_us"))


def downgrade() -> None:
    raise NotImplementedError("a lifeloop database is never taken back to an older schema")


def _text(name: str, *, nullable: bool = True) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=nullable)


def _real(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double)


def _long(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, LONG, nullable=nullable)


def _seq() -> sa.Column[int]:
    return sa.Column("seq", LONG, primary_key=True, autoincrement=False)


def _id() -> sa.Column[int]:
    return sa.Column("id", LONG, primary_key=True, autoincrement=True)


def _in_order() -> list[Any]:
    """Return the columns that order one person's events, as each database counts nulls."""
    if op.get_context().dialect.name == "postgresql":
        return [sa.text("t_us NULLS FIRST"), "seq"]
    return ["t_us"]


def _index(name: str, columns: list[Any], where: str | None = None) -> None:
    clause = None if where is None else sa.text(where)
    op.create_index(name, "events", columns, sqlite_where=clause, postgresql_where=clause)
