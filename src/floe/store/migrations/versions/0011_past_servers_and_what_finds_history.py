"""Past servers, and indexes that find what is over"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the indexes."""
    op.create_table(
        "past_servers",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("flavor_name", sa.String(255), nullable=False),
        sa.Column("vcpus", sa.Integer(), nullable=False),
        sa.Column("memory_mib", sa.Integer(), nullable=False),
        sa.Column("disk_gib", sa.Integer(), nullable=False),
        sa.Column("launched_at", sa.BigInteger(), nullable=True),
        sa.Column("terminated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_past_servers")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_past_servers_project", "past_servers", ["project_id", "id"])
    op.create_index("ix_past_servers_terminated", "past_servers", ["terminated_at"])
    gone = sa.text("deleted_at IS NOT NULL")
    op.create_index("ix_servers_deleted", "servers", ["deleted_at"], sqlite_where=gone, postgresql_where=gone)
    op.create_index("ix_images_deleted", "images", ["deleted_at"], sqlite_where=gone, postgresql_where=gone)
    closed = sa.text("kind <> 'create'")
    op.create_index("ix_actions_finished", "actions", ["finished_at"], sqlite_where=closed, postgresql_where=closed)


def downgrade() -> None:
    """Remove them."""
    op.drop_index("ix_actions_finished", "actions")
    op.drop_index("ix_images_deleted", "images")
    op.drop_index("ix_servers_deleted", "servers")
    op.drop_table("past_servers")
