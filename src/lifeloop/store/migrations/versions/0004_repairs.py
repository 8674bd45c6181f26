"""Who repaired or dropped which refused row, and what was changed in it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "repairs",
        sa.Column("id", LONG, primary_key=True, autoincrement=True),
        sa.Column("quarantine_id", LONG, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("line", LONG, nullable=True),
        sa.Column("who", TEXT, nullable=False),
        sa.Column("at_us", LONG, nullable=False),
        sa.Column("outcome", TEXT, nullable=False),
        sa.Column("raw", TEXT, nullable=False),
        sa.Column("changes", TEXT, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("repairs_by_row", "repairs", ["quarantine_id"])


def downgrade() -> None:
    raise NotImplementedError("a lifeloop database is never taken back to an older schema")
