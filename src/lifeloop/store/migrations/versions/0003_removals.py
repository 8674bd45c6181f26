"""Who was erased (as keyed hashes), what was removed, and what kind of name an alias is."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "tombstones",
        sa.Column("mark", TEXT, primary_key=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("at_us", LONG, nullable=False),
    )
    op.create_table(
        "removals",
        sa.Column("id", LONG, primary_key=True, autoincrement=True),
        sa.Column("why", TEXT, nullable=False),
        sa.Column("at_us", LONG, nullable=False),
        sa.Column("seqs", LONG, nullable=False),
        sa.Column("body", TEXT, nullable=False),
        sqlite_autoincrement=True,
    )
    if op.get_context().dialect.name == "postgresql":
        op.add_column("links", sa.Column("kind", TEXT, nullable=False, server_default="device"))
        op.alter_column("links", "kind", server_default=None)
        return
    op.drop_index("links_by_user", "links")
    op.rename_table("links", "older_links")
    op.create_table(
        "links",
        sa.Column("anonymous_id", TEXT, primary_key=True),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("seq", LONG, nullable=False),
        sa.Column("at_us", LONG, nullable=False),
    )
    op.execute(
        "INSERT INTO links (anonymous_id, user_id, kind, seq, at_us) "
        "SELECT anonymous_id, user_id, 'device', seq, at_us FROM older_links"
    )
    op.drop_table("older_links")
    op.create_index("links_by_user", "links", ["user_id"])


def downgrade() -> None:
    raise NotImplementedError("a lifeloop database is never taken back to an older schema")
