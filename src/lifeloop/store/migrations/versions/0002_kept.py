"""What the processes of one service share: keys, sessions, jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "kept",
        sa.Column("kind", TEXT, primary_key=True),
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("body", TEXT, nullable=False),
        sa.Column("at_us", LONG, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("a lifeloop database is never taken back to an older schema")
