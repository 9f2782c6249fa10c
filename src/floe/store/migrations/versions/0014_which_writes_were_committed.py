"""Which writes were committed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Know of each session which of its writes was the last to be committed."""
    op.create_table(
        "write_sessions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_write_sessions")),
    )
    op.create_index(op.f("ix_write_sessions_seen_at"), "write_sessions", ["seen_at"])


def downgrade() -> None:
    """Forget it: older code tries no write again."""
    op.drop_index(op.f("ix_write_sessions_seen_at"), "write_sessions")
    op.drop_table("write_sessions")
