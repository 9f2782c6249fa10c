"""What servers were before they were resized, and which image file a copied disk stands on"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0056"
down_revision = "0055"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No server waits for a resize to be confirmed, and each disk stands on an image of its own make."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("server_disks", sa.Column("base_make", number, nullable=True))
    op.add_column("servers", sa.Column("former", sa.Text(), nullable=True))


def downgrade() -> None:
    """Forget both: what was resized has other files than the release before looks for."""
    op.drop_column("servers", "former")
    op.drop_column("server_disks", "base_make")
