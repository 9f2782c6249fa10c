"""How often guests were to be booted, and how often it was said what they should be"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A guest that is there was booted once, and nothing else was ever said of it."""
    op.add_column("servers", sa.Column("boots", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("servers", sa.Column("guest_generation", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Forget it."""
    op.drop_column("servers", "guest_generation")
    op.drop_column("servers", "boots")
