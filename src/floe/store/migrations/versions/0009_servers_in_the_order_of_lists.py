"""Indexes that carry the order of lists of servers, for each project and for all"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_LIVING = sa.text("deleted_at IS NULL")


def upgrade() -> None:
    """Make the change."""
    op.drop_index("ix_servers_project", "servers")
    op.create_index(
        "ix_servers_project", "servers", ["project_id", "deleted_at", "created_at", "id", "vcpus", "memory_mib"]
    )
    op.create_index(
        "ix_servers_living", "servers", ["created_at", "id"], sqlite_where=_LIVING, postgresql_where=_LIVING
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_index("ix_servers_living", "servers")
    op.drop_index("ix_servers_project", "servers")
    op.create_index("ix_servers_project", "servers", ["project_id", "deleted_at", "vcpus", "memory_mib"])
