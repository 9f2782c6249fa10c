"""Which routers are all that a host has to be told of"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0050"
down_revision = "0043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("host_networks", sa.Column("routers", sa.String(length=400), server_default="", nullable=False))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("host_networks", "routers")
