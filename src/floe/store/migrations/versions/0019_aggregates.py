"""Host aggregates"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; hosts are in none."""
    op.create_table(
        "aggregates",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("uuid", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("zone", sa.String(length=255)),
        sa.Column("items", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_aggregates")),
        sa.UniqueConstraint("uuid", name=op.f("uq_aggregates_uuid")),
        sa.UniqueConstraint("name", name=op.f("uq_aggregates_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "aggregate_hosts",
        sa.Column("aggregate_id", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["aggregate_id"],
            ["aggregates.id"],
            name=op.f("fk_aggregate_hosts_aggregate_id_aggregates"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["host"], ["hosts.name"], name=op.f("fk_aggregate_hosts_host_hosts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("aggregate_id", "host", name=op.f("pk_aggregate_hosts")),
    )
    op.create_index(op.f("ix_aggregate_hosts_host"), "aggregate_hosts", ["host"])
    op.add_column("hosts", sa.Column("aggregates", sa.Text(), server_default="[]", nullable=False))
    op.add_column("hosts", sa.Column("aggregate_zone", sa.String(length=255)))


def downgrade() -> None:
    """Remove them; hosts are in the zones that they name themselves again."""
    op.drop_column("hosts", "aggregate_zone")
    op.drop_column("hosts", "aggregates")
    op.drop_index(op.f("ix_aggregate_hosts_host"), "aggregate_hosts")
    op.drop_table("aggregate_hosts")
    op.drop_table("aggregates")
