"""Address groups"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them, and let rules name one; a rule of an older release names none."""
    op.create_table(
        "address_groups",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("addresses", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_address_groups")),
    )
    op.create_index(op.f("ix_address_groups_project_id"), "address_groups", ["project_id"])
    op.add_column("security_group_rules", sa.Column("remote_address_group", sa.String(length=64)))
    op.create_index(
        op.f("ix_security_group_rules_remote_address_group"), "security_group_rules", ["remote_address_group"]
    )


def downgrade() -> None:
    """Remove the rules that name one, which would let everything in without it, and then the groups."""
    op.execute("DELETE FROM security_group_rules WHERE remote_address_group IS NOT NULL")
    op.execute("UPDATE host_networks SET wanted = wanted + 1")
    op.drop_index(op.f("ix_security_group_rules_remote_address_group"), "security_group_rules")
    op.drop_column("security_group_rules", "remote_address_group")
    op.drop_table("address_groups")
