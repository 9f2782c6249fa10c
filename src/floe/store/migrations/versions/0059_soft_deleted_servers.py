"""Until when a deleted server can be restored, and what its guest was doing"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0059"
down_revision = "0058"
branch_labels = None
depends_on = None

_SET = sa.text("reclaim_at IS NOT NULL")


def upgrade() -> None:
    """None is soft-deleted."""
    op.add_column("servers", sa.Column("reclaim_at", sa.BigInteger(), nullable=True))
    op.add_column("servers", sa.Column("power_before", sa.Integer(), nullable=True))
    op.create_index("ix_servers_reclaim", "servers", ["reclaim_at"], sqlite_where=_SET, postgresql_where=_SET)


def downgrade() -> None:
    """Forget both: those that are soft-deleted have to be deleted or restored before. A start counts anew."""
    postgres = op.get_bind().dialect.name == "postgresql"
    for name in ("count_servers_insert", "count_servers_update", "count_servers_delete"):
        op.execute(f"DROP FUNCTION IF EXISTS {name}() CASCADE" if postgres else f"DROP TRIGGER IF EXISTS {name}")
    op.drop_index("ix_servers_reclaim", table_name="servers")
    op.drop_column("servers", "power_before")
    op.drop_column("servers", "reclaim_at")
