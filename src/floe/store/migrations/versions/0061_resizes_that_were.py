"""Resizes as `os-migrations` lists them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0061"
down_revision = "0060"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """None is known of those before."""
    op.create_table(
        "server_migrations",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("server_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("old_flavor_id", sa.String(length=255), nullable=False),
        sa.Column("new_flavor_id", sa.String(length=255), nullable=False),
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("target", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["server_id"], ["servers.id"], name=op.f("fk_server_migrations_server_id_servers"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_server_migrations")),
        sa.UniqueConstraint("id", name=op.f("uq_server_migrations_id")),
    )
    op.create_index("ix_server_migrations_server_id", "server_migrations", ["server_id", "number"])
    op.create_index("ix_server_migrations_project_id", "server_migrations", ["project_id", "number"])
    op.create_index("ix_server_migrations_updated_at", "server_migrations", ["updated_at"])


def downgrade() -> None:
    """Forget them: the release before lists none."""
    op.drop_table("server_migrations")
