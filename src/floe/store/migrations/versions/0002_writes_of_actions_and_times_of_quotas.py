"""Writes of actions, and times of quotas"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.add_column("actions", sa.Column("writes", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("quotas", sa.Column("set_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Take it back."""
    op.drop_column("quotas", "set_at")
    op.drop_column("actions", "writes")
