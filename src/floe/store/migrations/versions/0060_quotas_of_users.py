"""Quotas of single users, and for whom their servers and server groups are counted"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0060"
down_revision = "0059"
branch_labels = None
depends_on = None

_MARKED = ("servers", "server_groups")


def upgrade() -> None:
    """Nobody has one."""
    op.create_table(
        "user_quotas",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("resource", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("limit", sa.BigInteger(), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "resource", name=op.f("pk_user_quotas")),
    )
    op.create_index("ix_user_quotas_project_id", "user_quotas", ["project_id"])
    op.create_index("ix_user_quotas_user_id", "user_quotas", ["user_id"])
    set_ = sa.text("quota_owner IS NOT NULL")
    for table in _MARKED:
        op.add_column(table, sa.Column("quota_owner", sa.String(length=64), nullable=True))
        op.create_index(f"ix_{table}_quota_owner", table, ["quota_owner"], sqlite_where=set_, postgresql_where=set_)


def downgrade() -> None:
    """Forget them. A start counts anew."""
    postgres = op.get_bind().dialect.name == "postgresql"
    for table in _MARKED:
        for event in ("insert", "update", "delete"):
            name = f"count_{table}_{event}"
            op.execute(f"DROP FUNCTION IF EXISTS {name}() CASCADE" if postgres else f"DROP TRIGGER IF EXISTS {name}")
        op.drop_index(f"ix_{table}_quota_owner", table_name=table)
        op.drop_column(table, "quota_owner")
    op.drop_table("user_quotas")
