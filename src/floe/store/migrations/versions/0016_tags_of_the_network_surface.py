"""Tags of the network surface"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_TABLES = ("networks", "subnets", "ports", "security_groups", "security_group_rules")


def upgrade() -> None:
    """Give everything that may have tags none."""
    for table in _TABLES:
        op.add_column(table, sa.Column("tags", sa.Text(), server_default="", nullable=False))


def downgrade() -> None:
    """Forget them."""
    for table in _TABLES:
        op.drop_column(table, "tags")
