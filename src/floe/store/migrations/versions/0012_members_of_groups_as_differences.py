"""Members of groups as differences"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Keep a log of what changed, and up to where each host was told. What a host knows now, it knows at position 0."""
    op.create_table(
        "group_changes",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("address", sa.BigInteger(), nullable=False),
        sa.Column("host", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_group_changes")),
    )
    op.create_table(
        "group_positions",
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("group_id", name=op.f("pk_group_positions")),
    )
    op.create_index(op.f("ix_group_positions_position"), "group_positions", ["position"])
    op.create_index(op.f("ix_port_addresses_address"), "port_addresses", ["address"])
    op.add_column("host_networks", sa.Column("members", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    """Have every host sent its whole network: the older code tells no differences."""
    op.execute("UPDATE host_networks SET wanted = wanted + 1")
    op.drop_column("host_networks", "members")
    op.drop_index(op.f("ix_port_addresses_address"), "port_addresses")
    op.drop_index(op.f("ix_group_positions_position"), "group_positions")
    op.drop_table("group_positions")
    op.drop_table("group_changes")
