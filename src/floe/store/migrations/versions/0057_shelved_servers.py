"""Servers that are shelved, and the images that they are kept in"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0057"
down_revision = "0056"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """None is shelved."""
    op.create_table(
        "shelved_servers",
        sa.Column("server_id", sa.String(length=64), nullable=False),
        sa.Column("image_id", sa.String(length=64), nullable=False),
        sa.Column("zone", sa.String(length=255), nullable=False),
        sa.Column("shelved_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["server_id"], ["servers.id"], name=op.f("fk_shelved_servers_server_id_servers"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("server_id", name=op.f("pk_shelved_servers")),
    )
    op.create_index("ix_shelved_servers_shelved_at", "shelved_servers", ["shelved_at"])


def downgrade() -> None:
    """Forget them: the release before knows no such state of a server."""
    op.drop_table("shelved_servers")
