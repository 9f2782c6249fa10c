"""What users call the NICs and the disks of their servers"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0064"
down_revision = "0062"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nobody calls any of them anything."""
    op.add_column("ports", sa.Column("device_tag", sa.String(60), nullable=False, server_default=""))
    op.add_column("server_disks", sa.Column("device_tag", sa.String(60), nullable=True))


def downgrade() -> None:
    """Forget it."""
    op.drop_column("server_disks", "device_tag")
    op.drop_column("ports", "device_tag")
