"""Counts of what quotas limit, whose triggers the start makes that follows; ports of an owner found in a large network"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "quota_usages",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("resource", sa.String(length=64), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "resource", name=op.f("pk_quota_usages")),
    )
    op.create_index("ix_ports_owner", "ports", ["network_id", "device_owner"])


def downgrade() -> None:
    """Take it back."""
    postgres = op.get_bind().dialect.name == "postgresql"
    found = op.get_bind().exec_driver_sql(
        "SELECT tgname FROM pg_trigger WHERE starts_with(tgname, 'count_')"
        if postgres
        else "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'count_*'"
    )
    for name in [row[0] for row in found]:
        op.execute(f"DROP FUNCTION {name}() CASCADE" if postgres else f"DROP TRIGGER {name}")
    op.drop_table("quota_usages")
    op.drop_index("ix_ports_owner", "ports")
