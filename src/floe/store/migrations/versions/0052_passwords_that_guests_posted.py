"""Passwords that guests posted, and how often they were posted and cleared"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0052"
down_revision = "0050"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No guest has posted one."""
    op.add_column("servers", sa.Column("password", sa.Text(), nullable=True))
    op.add_column("servers", sa.Column("password_turn", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Forget them."""
    op.drop_column("servers", "password_turn")
    op.drop_column("servers", "password")
