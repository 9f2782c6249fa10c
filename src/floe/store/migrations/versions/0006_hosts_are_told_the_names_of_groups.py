"""Hosts are told the names of groups"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Have every host sent its whole network, in which groups have names now."""
    op.execute("UPDATE host_networks SET wanted = wanted + 1")


def downgrade() -> None:
    """Leave it so: names that are there harm nobody."""
