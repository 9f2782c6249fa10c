"""Names of ports with their domains, and as servers were renamed meanwhile"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change, and have every host told: of names, and of the order of NICs."""
    with op.batch_alter_table("ports") as ports:
        ports.alter_column("hostname", existing_type=sa.String(63), type_=sa.String(255), existing_nullable=False)
    op.execute(
        "UPDATE ports SET hostname = (SELECT lower(servers.hostname) FROM servers WHERE servers.id = ports.server_id) "
        "WHERE server_id IN (SELECT id FROM servers)"
    )
    op.execute("UPDATE host_networks SET wanted = wanted + 1")


def downgrade() -> None:
    """Take it back."""
    op.execute("UPDATE ports SET hostname = '' WHERE length(hostname) > 63")
    with op.batch_alter_table("ports") as ports:
        ports.alter_column("hostname", existing_type=sa.String(255), type_=sa.String(63), existing_nullable=False)
