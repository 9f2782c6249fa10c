"""Limits of quota classes other than the default one"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0066"
down_revision = "0064"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """There are none."""
    op.create_table(
        "quota_classes",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("resource", sa.String(length=64), nullable=False),
        sa.Column("limit", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "resource", name=op.f("pk_quota_classes")),
    )


def downgrade() -> None:
    """Forget them: no project is of one."""
    op.drop_table("quota_classes")
