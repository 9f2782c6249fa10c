"""Image blobs that are being written or removed, what projects use of the image service, and a row to probe with"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change; what is used is counted from what is there."""
    op.add_column("images", sa.Column("blob_id", sa.String(length=80), nullable=True))
    op.add_column("images", sa.Column("uploads", sa.Integer(), server_default="0", nullable=False))
    op.create_table(
        "image_blobs",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("image_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image_blobs")),
    )
    op.create_index("ix_image_blobs_image_id", "image_blobs", ["image_id"])
    op.create_table(
        "image_usage",
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("uploads", sa.BigInteger(), nullable=False),
        sa.Column("staged", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_image_usage")),
    )
    op.create_table(
        "probes",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_probes")),
    )
    op.execute(
        "INSERT INTO image_usage (project_id, images, bytes, uploads, staged) "
        "SELECT owner, count(*), "
        "coalesce(sum(CASE WHEN status IN ('active', 'deactivated') THEN size ELSE 0 END), 0), 0, 0 "
        "FROM images WHERE status != 'deleted' AND owner IS NOT NULL GROUP BY owner"
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("probes")
    op.drop_table("image_usage")
    op.drop_table("image_blobs")
    op.drop_column("images", "uploads")
    op.drop_column("images", "blob_id")
