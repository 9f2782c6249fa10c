"""Keys of hosts, and the tokens that they are bound by"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, whose changes the start that follows has the database count."""
    op.create_table(
        "host_keys",
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("public_key", sa.String(length=64), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("token_expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("joined_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("host", name=op.f("pk_host_keys")),
    )
    op.create_index(op.f("ix_host_keys_public_key"), "host_keys", ["public_key"])


def downgrade() -> None:
    """Remove it, and what counts."""
    postgres = op.get_bind().dialect.name == "postgresql"
    for name in (f"generation_host_keys_{event}" for event in ("insert", "update", "delete")):
        op.execute(f"DROP FUNCTION IF EXISTS {name}() CASCADE" if postgres else f"DROP TRIGGER IF EXISTS {name}")
    op.drop_table("host_keys")
