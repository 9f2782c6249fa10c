"""Which make of a disk a server has, and what it was rebuilt from"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0055"
down_revision = "0054"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """All that are there have their first ones, and are made of what their creates say."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("server_disks", sa.Column("make", number, nullable=False, server_default="0"))
    op.add_column("servers", sa.Column("made_of", sa.Text(), nullable=True))


def downgrade() -> None:
    """Forget both: what was rebuilt has other files than the release before looks for."""
    op.drop_column("servers", "made_of")
    op.drop_column("server_disks", "make")
